/**
 * The layer rules: which room of src/ may import which, through which door. The tables are those of
 * ARCHITECTURE.md as data; a test here holds the two against each other.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { importsOf, projectRoot, sourceFiles, type Import } from './support/source-files.ts';

/** Besides base, which every room may import. `(types)`: for its types only, so nothing of it runs. */
const allowedRooms: Readonly<Record<string, readonly string[]>> = {
  base: [],
  oci: [],
  rootfs: ['oci'],
  ext4: ['rootfs (types)'],
  chunk: ['keys (types)'],
  keys: [],
  store: [],
  erasure: [],
  cache: ['store', 'erasure', 'chunk'],
  catalog: [],
  publish: ['oci', 'rootfs', 'ext4', 'chunk', 'keys', 'store', 'catalog'],
  device: ['chunk', 'cache', 'keys (types)'],
  sandbox: [],
  archive: ['keys', 'store'],
  runtimes: ['catalog', 'publish', 'sandbox'],
  functions: ['catalog', 'publish', 'device', 'sandbox', 'keys', 'archive', 'runtimes'],
  gc: ['catalog', 'store', 'chunk'],
  api: [
    'oci',
    'keys (types)',
    'store',
    'cache (types)',
    'catalog',
    'publish',
    'device',
    'functions',
    'runtimes',
  ],
  cli: ['everything'],
};

/** Each outside technology has its home; the rest of the house talks to that room. */
const homesOfPackages: Readonly<Record<string, readonly string[]>> = {
  'better-sqlite3': ['catalog'],
  kysely: ['catalog'],
  koffi: ['device', 'sandbox'],
  commander: ['cli'],
  'smol-toml': ['cli'],
  undici: ['store'],
  yauzl: ['archive'],
  '@smithy/signature-v4': ['api'],
  '@smithy/core': ['api'],
  '@aws-sdk/client-s3': ['store'],
  '@aws-sdk/credential-provider-node': ['store'],
};

const isTest = (path: string): boolean => path.endsWith('.test.ts') || path.includes('/testing/');
const roomOf = (path: string): string => path.split('/')[1] ?? '';
const doorOf = (room: string): string => `src/${room}/index.ts`;

/** What is wrong with an import, or undefined. */
function breach(from: string, { target, isOurs, typesOnly }: Import): string | undefined {
  const room = roomOf(from);
  if (!isOurs) {
    const homes = homesOfPackages[target];
    if (homes === undefined || homes.includes(room) || isTest(from)) return undefined;
    return `You are not allowed to access package ${target} from ${room}, allowed rooms are: [${homes.join(', ')}]`;
  }
  if (!target.startsWith('src/')) {
    if (target === 'package.json') return undefined; // for the version
    if (isTest(from) && /^test\/(support|golden|fixtures)\//.test(target)) return undefined;
    return `You are not allowed to access ${target} from src, which stands alone`;
  }
  const other = roomOf(target);
  if (isTest(target) && !isTest(from))
    return `You are not allowed to access tests (${target}) from here`;
  if (other === room) return undefined;
  if (target !== doorOf(other) && !(isTest(from) && isTest(target))) {
    return `You are not allowed to access ${target} from ${room}, the only door of ${other} is ${doorOf(other)}`;
  }
  if (other === 'base' || isTest(from)) return undefined;
  const allowed = ['base', ...(allowedRooms[room] ?? [])];
  if (allowed.includes(other) || allowed.includes('everything')) return undefined;
  if (allowed.includes(`${other} (types)`) && typesOnly) return undefined;
  return `You are not allowed to access ${other} from ${room}, allowed rooms are: [${allowed.join(', ')}]`;
}

test('every folder of src is a room of the table', () => {
  const rooms = new Set(sourceFiles('src').map(({ path }) => roomOf(path)));
  assert.deepEqual(
    [...rooms].filter((room) => !(room in allowedRooms)),
    [],
  );
});

test('rooms import only the rooms below them, through index.ts', () => {
  const breaches = sourceFiles('src').flatMap((file) =>
    importsOf(file).flatMap((imported) => {
      const wrong = breach(file.path, imported);
      return wrong === undefined ? [] : [`${file.path}:${imported.line}: Bad layering. ${wrong}`];
    }),
  );
  assert.deepEqual(breaches, []);
});

test('the rules tell an allowed import from a forbidden one', () => {
  const imported = (target: string, typesOnly = false): Import => {
    return { target, typesOnly, isOurs: target.includes('/'), line: 1 };
  };
  const verdict = (from: string, to: Import) =>
    breach(from, to)?.replace('You are not allowed to access ', '');
  assert.equal(verdict('src/rootfs/a.ts', imported('src/oci/index.ts')), undefined);
  assert.equal(
    verdict('src/rootfs/a.ts', imported('src/store/index.ts')),
    'store from rootfs, allowed rooms are: [base, oci]',
  );
  assert.equal(
    verdict('src/rootfs/a.ts', imported('src/oci/tar.ts')),
    'src/oci/tar.ts from rootfs, the only door of oci is src/oci/index.ts',
  );
  assert.equal(verdict('src/chunk/a.ts', imported('src/keys/index.ts', true)), undefined);
  assert.notEqual(verdict('src/chunk/a.ts', imported('src/keys/index.ts')), undefined);
  assert.notEqual(verdict('src/oci/a.ts', imported('test/support/a.ts')), undefined);
  assert.equal(verdict('src/oci/a.test.ts', imported('test/support/a.ts')), undefined);
  assert.notEqual(verdict('src/oci/a.ts', imported('src/oci/a.test.ts')), undefined);
  assert.notEqual(verdict('src/oci/a.ts', imported('koffi')), undefined);
});

test('the scan finds every form of import', () => {
  const code = [
    "import { a, type B } from './a.ts';",
    "import type { C } from './c.ts';",
    "import {\n  type D,\n  type E,\n} from './d.ts';",
    "export * from './f.ts';",
    "import './g.ts';",
    "await import('./h.ts');",
    "new URL('./i.ts', import.meta.url)",
    "import K from 'koffi';",
  ].join('\n');
  assert.deepEqual(
    importsOf({ path: 'src/x/y.ts', text: code, code }).map(({ target, typesOnly }) => [
      target,
      typesOnly,
    ]),
    [
      ['src/x/a.ts', false],
      ['src/x/c.ts', true],
      ['src/x/d.ts', true],
      ['src/x/f.ts', false],
      ['src/x/g.ts', false],
      ['src/x/h.ts', false],
      ['src/x/i.ts', false],
      ['koffi', false],
    ],
  );
});

/** The rows `| room | what lives there | may import |` of a document, in the form of `allowedRooms`. */
function documentedRooms(markdown: string): Record<string, string[]> {
  const rows = [...markdown.matchAll(/^\| `?(\w+)`? \|[^|\n]*\| ([^|\n]*) \|$/gm)];
  return Object.fromEntries(
    rows
      .filter(([, room = '']) => room in allowedRooms)
      .map(([, room = '', cell = '']) => [
        room,
        cell
          .split(',')
          .map((name) => name.trim().replaceAll('`', ''))
          .filter((name) => name !== 'base' && name !== 'nothing of ours'),
      ]),
  );
}

test('ARCHITECTURE.md has the same table', () => {
  const document = readFileSync(join(projectRoot, 'ARCHITECTURE.md'), 'utf8');
  const sorted = (table: Readonly<Record<string, readonly string[]>>) =>
    Object.entries(table).map(([room, rooms]) => [room, rooms.toSorted()]);
  assert.deepEqual(sorted(documentedRooms(document)), sorted(allowedRooms));
});
