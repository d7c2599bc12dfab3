import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  lstat,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  readlink,
  rm,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import fc from 'fast-check';

import { createLog, programPath, runCommand } from '../base/index.ts';
import { openLocalKeyring } from '../keys/index.ts';
import type { ObjectStore } from '../store/index.ts';
import { countingStore } from '../store/testing/counting-store.ts';
import { memoryStore } from '../store/testing/memory-store.ts';
import { createCodeArchives, type CodeArchivesOptions } from './local-code-archives.ts';
import { fileMode, linkMode, makeZip, type ZipInput } from './testing/make-zip.ts';

const tools = ['zip', 'unzip'].filter((tool) => programPath(tool) === undefined);
const needsTools = tools.length === 0 ? false : `needs ${tools.join(' and ')}`;
const needsRoot = process.geteuid?.() === 0 ? false : 'needs root';

async function temporary(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'thaw-archive-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

async function setUp(t: TestContext, changes: Partial<CodeArchivesOptions> = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'thaw-archive-'));
  const store = countingStore(memoryStore());
  const directory = join(dir, 'code');
  const warnings: string[] = [];
  const archives = createCodeArchives({
    store,
    keys: await openLocalKeyring(join(dir, 'keyring.json')),
    activeRoot: async () => 'root',
    directory,
    memoryMaxBytes: 0,
    diskMaxBytes: 2 ** 30,
    log: createLog({ level: 'warn', format: 'text', write: (line) => warnings.push(line) }),
    ...changes,
  });
  t.after(async () => {
    await archives[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
    assert.deepEqual(warnings, []);
  });
  return { dir, store, directory, archives };
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Type, mode, time, and content or target of all that lies in a directory, by path. */
async function treeOf(dir: string): Promise<Record<string, unknown>> {
  const tree: Record<string, unknown> = {};
  for (const name of await readdir(dir, { recursive: true })) {
    const path = join(dir, name);
    const facts = await lstat(path);
    const { mode, mtimeMs } = facts;
    const seconds = Math.floor(mtimeMs / 1000);
    if (facts.isSymbolicLink()) tree[name] = ['link', await readlink(path)];
    else if (facts.isDirectory()) tree[name] = ['directory', mode & 0o7777, seconds];
    else tree[name] = ['file', mode & 0o7777, seconds, sha256(await readFile(path))];
  }
  return tree;
}

async function filesIn(dir: string): Promise<string[]> {
  const all = await readdir(dir, { recursive: true, withFileTypes: true });
  return all.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
}

const hello = makeZip([
  { name: 'index.js', content: 'exports.handler = async () => "hello";' },
  { name: 'lib/deep/er/data.bin', content: randomBytes(100_000) },
  { name: 'link', content: 'lib/deep', mode: linkMode },
]);

test('an archive is stored for its tenant alone, with the facts that Lambda tells', async (t) => {
  const { archives, store } = await setUp(t);
  const stored = await archives.accept('alice', hello);
  assert.equal(stored.rootId, 'root');
  assert.equal(stored.codeSizeBytes, hello.byteLength);
  assert.equal(stored.unpackedBytes, 38 + 100_000 + 8);
  assert.deepEqual(await archives.check(hello), {
    codeSha256: stored.codeSha256,
    codeSizeBytes: stored.codeSizeBytes,
    unpackedBytes: stored.unpackedBytes,
  });
  const object = await store.get(`root/archives/${stored.archiveId}`);
  assert.ok(object !== undefined && !Buffer.from(object).includes('hello'));
  assert.deepEqual(Buffer.from(await archives.read({ tenant: 'alice', ...stored })), hello);
  for (const call of ['read', 'unpack'] as const) {
    await assert.rejects(async () => await archives[call]({ tenant: 'bob', ...stored }), {
      code: 'ERR_KEYS_UNWRAP_REFUSED',
    });
  }
});

test('leases share one copy, which is downloaded once and gone after the last', async (t) => {
  const { archives, store, directory } = await setUp(t);
  const of = { tenant: 'default', ...(await archives.accept('default', hello)) };
  const leases = await Promise.all([1, 2, 3].map(() => archives.unpack(of)));
  const late = await archives.unpack(of);
  assert.equal(new Set([...leases, late].map(({ path }) => path)).size, 1);
  assert.equal(store.read.length, 1);
  for (const lease of leases) {
    await lease[Symbol.asyncDispose]();
    await lease[Symbol.asyncDispose](); // once more is no harm
  }
  assert.deepEqual((await filesIn(directory)).toSorted(), ['data.bin', 'index.js', 'link']);
  await late[Symbol.asyncDispose]();
  await using again = await archives.unpack(of);
  await using apart = await archives.unpack(of, { sharedBy: 'another revision' });
  assert.notEqual(apart.path, again.path);
  assert.notEqual(again.path, late.path);
  assert.equal(store.read.length, 3, 'nothing is kept without a lease');
});

test('closing removes all that was unpacked, and the directory of the process', async (t) => {
  const { archives, directory } = await setUp(t);
  const of = { tenant: 'default', ...(await archives.accept('default', hello)) };
  await archives.unpack(of);
  await archives[Symbol.asyncDispose]();
  assert.deepEqual(await readdir(directory), []);
});

test('what a killed process left is removed by the next', async (t) => {
  const { archives, directory } = await setUp(t);
  const left = join(directory, '1-1', 'disk', 'abc');
  await mkdir(left, { recursive: true });
  await writeFile(join(left, 'file'), 'x');
  const of = { tenant: 'default', ...(await archives.accept('default', hello)) };
  await archives.unpack(of);
  await archives[Symbol.asyncDispose]();
  assert.deepEqual(await readdir(directory), []);
});

test('an archive that is gone, or was changed in the store, is told of and leaves nothing', async (t) => {
  const { archives, store, directory } = await setUp(t);
  const gone = { tenant: 'default', ...(await archives.accept('default', hello)) };
  await archives.remove(gone);
  await archives.remove(gone);
  await assert.rejects(archives.unpack(gone), { code: 'ERR_ARCHIVE_MISSING' });

  const of = { tenant: 'default', ...(await archives.accept('default', hello)) };
  const name = `root/archives/${of.archiveId}`;
  const bytes = Buffer.from((await store.get(name)) ?? []);
  const at = bytes.byteLength - 50_000;
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  await store.delete(name);
  await store.putIfAbsent(name, bytes);
  await assert.rejects(archives.unpack(of), { code: 'ERR_ARCHIVE_CORRUPT' });
  await archives[Symbol.asyncDispose]();
  assert.deepEqual(await readdir(directory), []);
});

const largeFiles = Array.from({ length: 24 }, (_, index) => ({
  name: `file-${index}`,
  content: randomBytes(2 ** 20),
  isStored: true,
}));
/** An archive of four pieces. */
const large = makeZip(largeFiles);

test('a large archive is several objects, whole in whatever order they come, and all removed', async (t) => {
  const inner = memoryStore();
  const gates = [1, 2, 3].map(() => Promise.withResolvers<void>());
  const store: ObjectStore = {
    ...inner,
    capabilities: inner.capabilities,
    putIfAbsent: (name, bytes) => inner.putIfAbsent(name, bytes),
    delete: (name) => inner.delete(name),
    list: (prefix) => inner.list(prefix),
    get: async (name) => {
      await gates[Number(name.split('.')[1] ?? 0) - 1]?.promise;
      return await inner.get(name);
    },
  };
  const { archives } = await setUp(t, { store });
  const of = { tenant: 'default', ...(await archives.accept('default', large)) };
  const unpacking = archives.unpack(of);
  for (const gate of gates.toReversed()) {
    await new Promise(setImmediate);
    gate.resolve();
  }
  await using lease = await unpacking;
  assert.equal((await filesIn(lease.path)).length, largeFiles.length);
  for (const { name, content } of largeFiles) {
    assert.ok((await readFile(join(lease.path, name))).equals(content), name);
  }
  assert.ok(large.equals(await archives.read(of)));
  const names = async (): Promise<string[]> => {
    const found: string[] = [];
    for await (const { name } of inner.list('')) found.push(name.replace(of.archiveId, 'ID'));
    return found;
  };
  const first = 'root/archives/ID';
  assert.deepEqual(await names(), [first, `${first}.1`, `${first}.2`, `${first}.3`]);
  await archives.remove(of);
  assert.deepEqual(await names(), []);
});

test('a piece that is gone, cut short or changed is told of, and leaves nothing', async (t) => {
  const { archives, store, directory } = await setUp(t);
  const spoilt: readonly (readonly [(piece: Buffer) => Buffer | undefined, string])[] = [
    [() => undefined, 'ERR_ARCHIVE_MISSING'],
    [(piece) => piece.subarray(1), 'ERR_ARCHIVE_CORRUPT'],
    [
      (piece) => Buffer.from(piece.map((byte, at) => (at === 999 ? byte ^ 1 : byte))),
      'ERR_ARCHIVE_CORRUPT',
    ],
  ];
  for (const [spoil, code] of spoilt) {
    const of = { tenant: 'default', ...(await archives.accept('default', large)) };
    const name = `root/archives/${of.archiveId}.2`;
    const bytes = spoil(Buffer.from((await store.get(name)) ?? []));
    await store.delete(name);
    if (bytes !== undefined) await store.putIfAbsent(name, bytes);
    await assert.rejects(archives.unpack(of), { code });
    await assert.rejects(archives.read(of), { code });
    await archives.remove(of);
  }
  await archives[Symbol.asyncDispose]();
  assert.deepEqual(await readdir(directory), []);
});

test('what does not fit is refused until something was given back', async (t) => {
  const { archives } = await setUp(t, { diskMaxBytes: 200_000 });
  const [first, second] = [
    { tenant: 'default', ...(await archives.accept('default', hello)) },
    { tenant: 'default', ...(await archives.accept('default', hello)) },
  ];
  const lease = await archives.unpack(first);
  await assert.rejects(archives.unpack(second), { code: 'ERR_ARCHIVE_NO_SPACE', retryable: true });
  await using _more = await archives.unpack(first); // that takes no more
  await lease[Symbol.asyncDispose]();
});

test(
  'archives are unpacked in memory while there is room, then on disk',
  { skip: needsRoot },
  async (t) => {
    const { archives, directory } = await setUp(t, { memoryMaxBytes: 200_000 });
    const paths: string[] = [];
    for (const _ of [1, 2]) {
      const of = { tenant: 'default', ...(await archives.accept('default', hello)) };
      paths.push((await archives.unpack(of)).path);
    }
    assert.deepEqual(
      paths.map((path) => path.split('/').at(-2)),
      ['memory', 'disk'],
    );
    const mounted = async () => (await readFile('/proc/self/mounts', 'utf8')).includes(directory);
    assert.equal(await mounted(), true);
    await archives[Symbol.asyncDispose]();
    assert.equal(await mounted(), false);
    assert.deepEqual(await readdir(directory), []);
  },
);

test('the memory of a killed process is given back by the next', { skip: needsRoot }, async (t) => {
  const { archives, directory } = await setUp(t);
  const left = join(directory, '1-1', 'memory');
  await mkdir(left, { recursive: true });
  await runCommand('mount', ['-t', 'tmpfs', 'thaw-code', left]);
  await writeFile(join(left, 'file'), 'x');
  const of = { tenant: 'default', ...(await archives.accept('default', hello)) };
  await archives.unpack(of);
  await archives[Symbol.asyncDispose]();
  assert.equal((await readFile('/proc/self/mounts', 'utf8')).includes(left), false);
  assert.deepEqual(await readdir(directory), []);
});

test('any user may read what was unpacked, whatever the umask of the worker', async (t) => {
  const script = join(import.meta.dirname, 'testing/modes-process.ts');
  for (const umask of ['000', '022', '077', '777']) {
    const dir = await temporary(t);
    const command = `umask ${umask}; exec "$@"`;
    const args = ['-c', command, 'sh', process.execPath, script, dir];
    if (umask === '777' && process.geteuid?.() !== 0) continue; // nothing can be made in what it makes
    const { stdout } = await runCommand('sh', args);
    assert.deepEqual(
      JSON.parse(stdout),
      {
        '.': '40755',
        named: '40755',
        implied: '40755',
        'implied/private': '100644',
        'implied/program': '100755',
      },
      umask,
    );
  }
});

/** Unpacks with ours and with Info-ZIP's, which knows no more of the archive than its bytes. */
async function unpackBoth(
  { archives, dir }: Awaited<ReturnType<typeof setUp>>,
  zip: Uint8Array,
): Promise<{ ours: Record<string, unknown>; theirs: Record<string, unknown> }> {
  const file = join(dir, 'code.zip');
  await writeFile(file, zip);
  const env = { PATH: process.env['PATH'], TZ: 'UTC' };
  await rm(join(dir, 'theirs'), { recursive: true, force: true });
  await runCommand('unzip', ['-q', file, '-d', join(dir, 'theirs')], { env });
  const stored = await archives.accept('default', zip);
  await using lease = await archives.unpack({ tenant: 'default', ...stored });
  return { ours: await treeOf(lease.path), theirs: await treeOf(join(dir, 'theirs')) };
}

test('a tree packed by Info-ZIP comes out as by Info-ZIP', { skip: needsTools }, async (t) => {
  const dir = await temporary(t);
  await mkdir(join(dir, 'in/empty'), { recursive: true });
  await mkdir(join(dir, 'in/sub/dir'), { recursive: true });
  await writeFile(join(dir, 'in/run'), '#!/bin/sh', { mode: 0o755 });
  await writeFile(join(dir, 'in/näme → ü'), 'x'.repeat(100_000), { mode: 0o644 });
  await writeFile(join(dir, 'in/sub/dir/large'), Buffer.alloc(20 * 2 ** 20, 'large '));
  await writeFile(join(dir, 'in/sub/none'), '');
  const script =
    'ln -s run in/link; ln -s ../run in/sub/up; touch -h -d 2011-02-03T04:05:06Z in/run';
  await runCommand(
    'sh',
    ['-c', `${script}; chmod -R u=rwX,go=rX in; cd in; zip -qry ../code.zip .`],
    {
      cwd: dir,
    },
  );
  const { ours, theirs } = await unpackBoth(await setUp(t), await readFile(join(dir, 'code.zip')));
  assert.deepEqual(ours, theirs);
  assert.equal(Object.keys(ours).length, 9);
});

const python = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED) as z:
    for name, force in (('streamed.txt', False), ('as-zip64.txt', True)):
        info = zipfile.ZipInfo(name, (2020, 2, 3, 4, 5, 6))
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        with z.open(info, 'w', force_zip64=force) as f: f.write(b'written piece by piece ' * 1000)
    info = zipfile.ZipInfo('stored', (2020, 2, 3, 4, 5, 6)); info.external_attr = 0o755 << 16
    z.writestr(info, b'as it is')
    z.comment = b'a comment at the end'
`;

test("archives of Python's zipfile come out as by Info-ZIP", { skip: needsTools }, async (t) => {
  const dir = await temporary(t);
  const file = join(dir, 'code.zip');
  await runCommand('python3', ['-c', python, file]);
  const { ours, theirs } = await unpackBoth(await setUp(t), await readFile(file));
  assert.deepEqual(ours, theirs);
  assert.equal(Object.keys(ours).length, 3);
});

/** Names of files that do not stand in each other's way. */
function zipInputs(): fc.Arbitrary<readonly ZipInput[]> {
  const part = fc.stringMatching(/^[a-zA-Zéß€_.-]{1,12}$/).filter((text) => !/^\.*$/.test(text));
  const entry = fc.record(
    {
      directories: fc.array(part, { maxLength: 4 }),
      content: fc.uint8Array({ maxLength: 3000 }),
      copies: fc.nat(30),
      isStored: fc.boolean(),
      mode: fc.constantFrom(fileMode, 0o100755),
    },
    { noNullPrototype: true },
  );
  return fc.array(entry, { minLength: 1, maxLength: 40 }).map((entries) =>
    entries.map(({ directories, content, copies, isStored, mode }, index) => ({
      name: [...directories.map((name) => `d-${name}`), `f-${index}`].join('/'),
      content: Buffer.concat(Array.from({ length: copies }, () => content)),
      isStored,
      mode,
    })),
  );
}

test('any tree comes out as by Info-ZIP', { skip: needsTools }, async (t) => {
  const timeless = (tree: Record<string, unknown>) =>
    Object.fromEntries(
      Object.entries(tree).filter(([, facts]) => (facts as unknown[])[0] !== 'directory'),
    );
  const made = await setUp(t);
  await fc.assert(
    fc.asyncProperty(zipInputs(), async (inputs) => {
      const { ours, theirs } = await unpackBoth(made, makeZip(inputs));
      assert.deepEqual(timeless(ours), timeless(theirs));
      assert.deepEqual(Object.keys(ours).toSorted(), Object.keys(theirs).toSorted());
    }),
    { numRuns: 15 },
  );
});

test('what an archive with changed bytes unpacks stays inside its directory', async (t) => {
  const { archives, dir, directory } = await setUp(t);
  const zip = makeZip([
    { name: 'a/../b', content: 'x', flags: 0 },
    { name: 'aaaaaaaa/b', content: 'x' },
    { name: 'link', content: 'aaaaaaaa', mode: linkMode },
  ]);
  zip.fill('a', zip.indexOf('a/../b'), zip.indexOf('a/../b') + 6);
  zip.fill('a', zip.lastIndexOf('a/../b'), zip.lastIndexOf('a/../b') + 6);
  const byte = fc.constantFrom(0x2e, 0x2f, 0x5c, 0, 0xff, 0x41);
  const change = fc.tuple(fc.nat(zip.byteLength - 1), byte);
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
      const changed = Buffer.from(zip);
      for (const [at, value] of changes) changed[at] = value;
      const stored = await archives.accept('default', changed).catch(() => undefined);
      if (stored === undefined) return;
      await using lease = await archives.unpack({ tenant: 'default', ...stored });
      assert.ok(existsSync(lease.path));
    }),
    { numRuns: 150 },
  );
  await archives[Symbol.asyncDispose]();
  assert.deepEqual(await readdir(directory), []);
  assert.deepEqual((await readdir(dir)).toSorted(), ['code', 'keyring.json', 'keyring.json.lock']);
});
