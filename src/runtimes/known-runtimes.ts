/**
 * The runtimes that this machine can make, by Lambda's names. What functions find in their environment is what Lambda's
 * runtimes for zip archives give them. Source: AWS Lambda developer guide, "Defined runtime environment variables";
 * "OS-only runtimes"; AWS's runtime interface emulator, `rapidcore/env/environment.go`.
 */

import { nodeRuntimeBootstrapPath } from '../sandbox/index.ts';
import { baseLayer } from './base-layer.ts';
import { copyOf, librariesOf } from './machine-programs.ts';
import type { RuntimeTree } from './runtime-tree.ts';

const environment = {
  LANG: 'en_US.UTF-8',
  TZ: ':UTC',
  PATH: '/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin',
  LD_LIBRARY_PATH:
    '/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib',
  LAMBDA_RUNTIME_DIR: '/var/runtime',
  LAMBDA_TASK_ROOT: '/var/task',
} as const;

const nodeInImage = '/var/lang/bin/node';
const bootstrapInImage = '/var/runtime/bootstrap.mjs';

/** The Node that Thaw itself runs on. */
async function nodeTree(): Promise<RuntimeTree> {
  const libraries = await librariesOf(process.execPath);
  const node = [
    copyOf(process.execPath, nodeInImage),
    copyOf(nodeRuntimeBootstrapPath, bootstrapInImage),
    ...libraries,
  ];
  return {
    layers: [await baseLayer(), node],
    entrypoint: [nodeInImage, bootstrapInImage],
    env: {
      ...environment,
      NODE_PATH: `/opt/nodejs/node${nodeMajor()}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules`,
    },
  };
}

/** The archive brings the program: `bootstrap`. */
async function providedTree(): Promise<RuntimeTree> {
  return { layers: [await baseLayer()], entrypoint: ['/var/task/bootstrap'], env: environment };
}

function nodeMajor(): string {
  return process.versions.node.split('.')[0] ?? '';
}

/** By name. */
export const knownRuntimes: Readonly<Record<string, () => Promise<RuntimeTree>>> = {
  [`nodejs${nodeMajor()}.x`]: nodeTree,
  provided: providedTree,
  'provided.al2': providedTree,
  'provided.al2023': providedTree,
};
