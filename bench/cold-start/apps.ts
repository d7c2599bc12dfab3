/**
 * The functions whose cold starts are measured, as data: Node with nothing and with up to 250 MB of real npm packages, that it imports at
 * its start or not, as the seed's author has them; Python with numpy and pandas; Java; a small static program. Each speaks to
 * the Lambda Runtime API itself, so that whatever starts it can invoke it.
 */

import { join } from 'node:path';

import type { RunConfig } from '../../test/support/oci-layout.ts';
import type { LayerName } from '../corpus/index.ts';

/** By how many MB there are of them, up to 2 % off: what each set has beyond the one before. */
export const packageSets = {
  10: ['lodash', 'axios', 'uuid', 'zod'],
  30: ['express', 'ajv', 'date-fns', 'pg', 'moment'],
  50: [
    '@aws-sdk/client-s3',
    '@aws-sdk/client-dynamodb',
    '@aws-sdk/client-sqs',
    '@aws-sdk/lib-dynamodb',
    'ioredis',
    'graphql',
    'rxjs',
  ],
  100: ['mathjs', 'mongodb', '@aws-sdk/client-ec2', 'knex', 'mysql2', 'sequelize'],
  150: ['openai', 'stripe', 'twilio'],
  200: ['exceljs', 'pdf-lib'],
  250: ['typeorm', 'three'],
} as const;

export type PackagesMb = 0 | 10 | 30 | 50 | 100 | 150 | 200 | 250;

export const packageSizesMb = [
  0, 10, 30, 50, 100, 150, 200, 250,
] as const satisfies readonly PackagesMb[];

export interface App {
  /** Short and plain: it names images, functions and files. */
  readonly id: string;
  readonly title: string;
  /** Layers of the corpus below the app's own, the lowest first. */
  readonly layers: readonly LayerName[];
  readonly program: 'node' | 'python' | 'java' | 'static';
  /** Node's; an app of Node's can be a zip archive as well. */
  readonly packages?: { readonly mb: PackagesMb; readonly isImported: boolean };
  readonly config: RunConfig;
}

export const programsDirectory = join(import.meta.dirname, 'programs');
export const taskRoot = '/var/task';
const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function configOf(entrypoint: readonly string[], env: readonly string[] = []): RunConfig {
  return { Entrypoint: entrypoint, WorkingDir: taskRoot, Env: [path, ...env] };
}

function nodeApp(mb: PackagesMb, isImported: boolean): App {
  const what = isImported ? 'imported' : 'not imported';
  return {
    id: `node-${mb}${isImported ? '-imported' : ''}`,
    title: mb === 0 ? 'Node, no packages' : `Node, ${mb} MB ${what}`,
    layers: ['base', 'node'],
    program: 'node',
    packages: { mb, isImported },
    config: {
      ...configOf(
        ['/usr/local/bin/node', '/var/runtime/bootstrap.mjs'],
        [`LAMBDA_TASK_ROOT=${taskRoot}`, '_HANDLER=index.handler'],
      ),
      Cmd: ['index.handler'],
    },
  };
}

/** As AWS's own Java runtimes set it. */
const javaFlags = ['-XX:+TieredCompilation', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC'];

export const apps: readonly App[] = [
  {
    id: 'static',
    title: 'Small static program',
    layers: [],
    program: 'static',
    config: configOf([`${taskRoot}/bootstrap`]),
  },
  ...packageSizesMb.map((mb) => nodeApp(mb, false)),
  ...packageSizesMb.slice(1).map((mb) => nodeApp(mb, true)),
  {
    id: 'python',
    title: 'Python, numpy and pandas',
    layers: ['base', 'apt-python'],
    program: 'python',
    config: configOf(['/usr/bin/python3', `${taskRoot}/bootstrap.py`]),
  },
  {
    id: 'java',
    title: 'Java 17',
    layers: ['base', 'apt-java'],
    program: 'java',
    config: configOf(['/usr/bin/java', ...javaFlags, '-jar', `${taskRoot}/app.jar`]),
  },
];

/** The packages of all sets up to one of so many MB. */
export function packagesUpTo(mb: PackagesMb): readonly string[] {
  return Object.entries(packageSets)
    .filter(([size]) => Number(size) <= mb)
    .flatMap(([, names]) => names);
}
