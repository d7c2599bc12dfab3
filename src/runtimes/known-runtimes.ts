/**
 * The runtimes that this machine can make, by Lambda's names. What functions find in their environment is what Lambda's
 * runtimes for zip archives give them. Source: AWS Lambda developer guide, "Defined runtime environment variables";
 * "OS-only runtimes"; AWS's runtime interface emulator, `rapidcore/env/environment.go`.
 */

import { nodeRuntimeBootstrapPath } from '../sandbox/index.ts';
import { baseLayer } from './base-layer.ts';
import { copyOf, librariesOf } from './machine-programs.ts';
import { pythonRuntimes } from './python-runtime.ts';
import { runtimeEnvironment, type RuntimeTree } from './runtime-tree.ts';

const nodeInImage = '/var/lang/bin/node';
const bootstrapInImage = '/var/runtime/bootstrap.mjs';

/** The Node that Thaw itself runs on. */
async function nodeTree(): Promise<RuntimeTree> {
  const libraries = await librariesOf([process.execPath]);
  const node = [
    copyOf(process.execPath, nodeInImage),
    copyOf(nodeRuntimeBootstrapPath, bootstrapInImage),
    ...libraries,
  ];
  return {
    layers: [await baseLayer(), node],
    entrypoint: [nodeInImage, bootstrapInImage],
    env: {
      ...runtimeEnvironment,
      NODE_PATH: `/opt/nodejs/node${nodeMajor()}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules`,
    },
  };
}

/** The archive brings the program: `bootstrap`. */
async function providedTree(): Promise<RuntimeTree> {
  return {
    layers: [await baseLayer()],
    entrypoint: ['/var/task/bootstrap'],
    env: runtimeEnvironment,
  };
}

function nodeMajor(): string {
  return process.versions.node.split('.')[0] ?? '';
}

/** How to make each, by name. */
export async function knownRuntimes(): Promise<
  Readonly<Record<string, () => Promise<RuntimeTree>>>
> {
  return {
    [`nodejs${nodeMajor()}.x`]: nodeTree,
    provided: providedTree,
    'provided.al2': providedTree,
    'provided.al2023': providedTree,
    ...(await pythonRuntimes()),
  };
}
