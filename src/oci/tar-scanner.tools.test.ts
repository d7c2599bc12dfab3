/** Archives that GNU tar and Python write, and what Python reads in them and in ours. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';

import {
  type RandomAccess,
  byteStringToBytes,
  randomAccessOf,
  runCommand,
  viewOf,
} from '../base/index.ts';
import { needsPrograms } from '../../test/support/programs.ts';
import { type TarFormat, buildTar } from '../../test/support/tar-builder.ts';
import { type TarEntry, scanTar } from './index.ts';

let work = '';
before(() => {
  work = mkdtempSync(join(tmpdir(), 'thaw-tar-'));
});
after(() => rmSync(work, { recursive: true, force: true }));

const needsTar = needsPrograms('tar', 'setfattr', 'mkfifo');
const needsPython = needsPrograms('python3');

/** What is listed of an entry: byte strings in hex, a file's content as its SHA-256. */
interface Listed {
  readonly path: string;
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly seconds: number;
  readonly linkTarget: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly device: string;
  readonly xattrs: Readonly<Record<string, string>>;
}

const pythonLister = `
import hashlib, json, math, sys, tarfile
T = tarfile
types = {T.REGTYPE: 'file', T.AREGTYPE: 'file', T.CONTTYPE: 'file', T.GNUTYPE_SPARSE: 'file', T.LNKTYPE: 'hardlink',
  T.SYMTYPE: 'symlink', T.DIRTYPE: 'directory', T.FIFOTYPE: 'fifo', T.CHRTYPE: 'character-device', T.BLKTYPE: 'block-device'}
raw = lambda text: text.encode('utf-8', 'surrogateescape').hex()
prefix = 'SCHILY.xattr.'
def listed(tar, m):
  type = types[m.type]
  return dict(
    path=raw(m.name.rstrip('/')), type=type, mode=m.mode & 0o7777, uid=m.uid, gid=m.gid, seconds=math.floor(m.mtime),
    linkTarget=raw(m.linkname) if type.endswith('link') else '', sizeBytes=m.size if type == 'file' else 0,
    sha256=hashlib.sha256(tar.extractfile(m).read()).hexdigest() if type == 'file' else '',
    device='%d:%d' % (m.devmajor, m.devminor) if type.endswith('device') else '',
    xattrs={k[len(prefix):]: raw(v) for k, v in m.pax_headers.items() if k.startswith(prefix)})
for path in sys.argv[1:]:
  tar = tarfile.open(path, encoding='utf-8', errors='surrogateescape')
  print(json.dumps([listed(tar, m) for m in tar]))
`;

/** One start of Python for all the archives: it takes longer than reading them. */
function listedByPython(paths: readonly string[]): Listed[][] {
  const lists = execFileSync('python3', ['-c', pythonLister, ...paths], { encoding: 'utf8' });
  const lines = lists.trim().split('\n');
  return lines.map((line) => JSON.parse(line) as Listed[]);
}

async function listedByUs(bytes: Buffer): Promise<Listed[]> {
  const tar = randomAccessOf(bytes);
  const listed: Listed[] = [];
  for await (const entry of scanTar(tar)) listed.push(await listedOf(tar, entry));
  return listed;
}

async function listedOf(tar: RandomAccess, entry: TarEntry): Promise<Listed> {
  const hex = (text: TarEntry['path']): string => viewOf(byteStringToBytes(text)).toString('hex');
  const isDevice = entry.type.endsWith('device');
  return {
    path: hex(entry.path.replace(/\/+$/, '') as TarEntry['path']),
    type: entry.type,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    seconds: entry.modified.seconds,
    linkTarget: hex(entry.linkTarget),
    sizeBytes: entry.sizeBytes,
    sha256: entry.type === 'file' ? sha256(await readEntry(tar, entry)) : '',
    device: isDevice ? `${entry.deviceMajor}:${entry.deviceMinor}` : '',
    xattrs: Object.fromEntries(
      [...entry.xattrs].map(([name, value]) => [name, viewOf(value).toString('hex')]),
    ),
  };
}

async function readEntry(tar: RandomAccess, entry: TarEntry): Promise<Buffer> {
  const bytes = Buffer.alloc(entry.sizeBytes);
  for (const { fileOffset, tarOffset, lengthBytes } of entry.segments) {
    await tar.read(tarOffset, bytes.subarray(fileOffset, fileOffset + lengthBytes));
  }
  return bytes;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function comparedWithPython(...paths: readonly string[]): Promise<Listed[][]> {
  const ours: Listed[][] = [];
  for (const path of paths) ours.push(await listedByUs(readFileSync(path)));
  assert.deepEqual(ours, listedByPython(paths));
  return ours;
}

/** Everything that a tar can hold and an unprivileged user can make. */
async function makeFiles(root: string, format: string): Promise<void> {
  mkdirSync(join(root, 'directory'), { recursive: true });
  writeFileSync(join(root, 'empty'), '');
  writeFileSync(join(root, 'text'), 'hello\n', { mode: 0o640 });
  writeFileSync(join(root, 'directory/big'), Buffer.alloc(300_001, 'big'));
  linkSync(join(root, 'text'), join(root, 'directory/hard link'));
  symlinkSync('directory/../text', join(root, 'symlink'));
  utimesSync(join(root, 'empty'), 1_234_567_890.5, 1_234_567_890.5);
  if (format !== 'v7') await runCommand('mkfifo', [join(root, 'fifo')]);
  if (!hasLongNames(format)) return;
  const long = join(root, 'l'.repeat(101), 'o'.repeat(200));
  mkdirSync(long, { recursive: true });
  writeFileSync(join(long, 'é'.repeat(100)), 'long');
  symlinkSync('target/'.repeat(30), join(long, 's'));
  utimesSync(join(root, 'text'), -1000, -1000);
}

function hasLongNames(format: string): boolean {
  return format !== 'v7' && format !== 'ustar';
}

/** Files with data and holes at the start, in the end, everywhere, in more runs than a header has room for. */
async function makeSparseFiles(root: string): Promise<void> {
  const block = Buffer.alloc(4096, 'data');
  const files: Readonly<Record<string, { runs: number[]; sizeBytes: number }>> = {
    hole: { runs: [], sizeBytes: 1_000_000 },
    head: { runs: [0], sizeBytes: 1_000_000 },
    tail: { runs: [999_000 - (999_000 % 4096)], sizeBytes: 1_000_000 },
    middle: { runs: [65_536, 69_632, 200_704], sizeBytes: 20_000_000 },
    many: { runs: Array.from({ length: 70 }, (_, index) => index * 16_384), sizeBytes: 1_150_000 },
  };
  for (const [name, { runs, sizeBytes }] of Object.entries(files)) {
    const path = join(root, `sparse-${name}`);
    await using file = await open(path, 'w');
    for (const offset of runs) await file.write(block, 0, block.byteLength, offset);
    truncateSync(path, sizeBytes);
  }
}

/** How many entries each format has: v7 knows no FIFO, v7 and ustar no long names. */
const counts: Readonly<Record<string, number>> = { v7: 7, oldgnu: 12, ustar: 8, gnu: 12, pax: 12 };

for (const [format, count] of Object.entries(counts)) {
  const skip = needsTar || needsPython;
  test(`GNU tar --format=${format}: every entry is as Python reads it`, { skip }, async () => {
    const root = join(work, `plain-${format}`);
    const tar = `${root}.tar`;
    await makeFiles(root, format);
    const owner = hasLongNames(format) ? '4000000000' : '70000';
    const options = ['--sort=name', '--numeric-owner', `--owner=${owner}`, '--group=1000'];
    await runCommand('tar', [`--format=${format}`, ...options, '-C', root, '-cf', tar, '.']);
    const [entries] = await comparedWithPython(tar);
    assert.equal(entries?.length, count);
    const types = new Set(entries.map(({ type }) => type).filter((type) => type !== 'fifo'));
    assert.deepEqual([...types].sort(), ['directory', 'file', 'hardlink', 'symlink']);
  });
}

const sparseFormats = [
  ['--format=oldgnu'],
  ['--format=gnu'],
  ['--format=pax', '--sparse-version=0.0'],
  ['--format=pax', '--sparse-version=0.1'],
  ['--format=pax', '--sparse-version=1.0'],
];

for (const format of sparseFormats) {
  test(
    `GNU tar --sparse ${format.join(' ')}: the content is that of the file`,
    { skip: needsTar },
    async () => {
      const root = join(work, `sparse-${format.join('')}`);
      mkdirSync(root);
      await makeSparseFiles(root);
      const tarPath = `${root}.tar`;
      await runCommand('tar', ['--sparse', ...format, '-C', root, '-cf', tarPath, '.']);
      const bytes = readFileSync(tarPath);
      const tar = randomAccessOf(bytes);
      let compared = 0;
      for await (const entry of scanTar(tar)) {
        if (entry.type !== 'file') continue;
        const content = await readEntry(tar, entry);
        assert.ok(content.equals(readFileSync(join(root, entry.path))), entry.path);
        compared += 1;
      }
      assert.equal(compared, 5);
      assert.ok(bytes.byteLength < 1_000_000, 'the holes are not in the archive');
    },
  );
}

test(
  'GNU tar --xattrs: attributes and nanoseconds are as they are on disk',
  { skip: needsTar },
  async () => {
    const root = join(work, 'xattrs');
    mkdirSync(root);
    writeFileSync(join(root, 'f'), 'x');
    await runCommand('setfattr', ['-n', 'user.binary', '-v', '0x000aff3d0a', join(root, 'f')]);
    await runCommand('setfattr', ['-n', 'user.empty', join(root, 'f')]);
    await runCommand('touch', ['-d', '1969-12-31T23:59:58.123456789Z', join(root, 'f')]);
    const tar = `${root}.tar`;
    await runCommand('tar', ['--format=posix', '--xattrs', '-C', root, '-cf', tar, 'f']);
    const [entry] = await scanFile(tar);
    assert.deepEqual(entry?.modified, { seconds: -2, nanoseconds: 123_456_789 });
    assert.deepEqual(
      [...(entry?.xattrs ?? [])].map(([name, value]) => [name, viewOf(value).toString('hex')]),
      [
        ['user.binary', '000aff3d0a'],
        ['user.empty', ''],
      ],
    );
  },
);

async function scanFile(path: string): Promise<TarEntry[]> {
  const entries: TarEntry[] = [];
  for await (const entry of scanTar(randomAccessOf(readFileSync(path)))) entries.push(entry);
  return entries;
}

const pythonWriter = `
import io, sys, tarfile
T = tarfile
for path, format in zip(sys.argv[1:], (T.USTAR_FORMAT, T.GNU_FORMAT, T.PAX_FORMAT)):
  tar = tarfile.open(path, 'w', format=format)
  def add(name, type=T.REGTYPE, content=b'', **more):
    info = T.TarInfo(name)
    info.type, info.size = type, len(content)
    for key, value in more.items(): setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content))
  add('plain', content=b'x' * 513, mode=0o4755, uid=1, gid=2, mtime=1234567890)
  add('directory', T.DIRTYPE, mode=0o1777)
  add('device', T.BLKTYPE, devmajor=259, devminor=100000)
  add('hard', T.LNKTYPE, linkname='plain')
  add('d' * 90 + '/' + 'n' * 90)
  if format != T.USTAR_FORMAT:
    add('sym', T.SYMTYPE, linkname='target/' * 100)
    add('d' * 300, mtime=-5, uid=2**31, gid=2**32 - 2)
    add('caf\u00e9' * 50, T.DIRTYPE)
  if format == T.PAX_FORMAT:
    add('records', mtime=1.25, pax_headers={'SCHILY.xattr.user.a': 'caf\u00e9', 'comment': 'c' * 5000})
  tar.close()
`;

test('Python: what its tarfile writes is read as it reads it', { skip: needsPython }, async () => {
  const paths = ['ustar', 'gnu', 'pax'].map((format) => join(work, `python-${format}.tar`));
  await runCommand('python3', ['-c', pythonWriter, ...paths]);
  const lengths = (await comparedWithPython(...paths)).map(({ length }) => length);
  assert.deepEqual(lengths, [5, 8, 9]);
});

test('random archives of ours are read as Python reads them', { skip: needsPython }, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(randomArchive, { minLength: 10, maxLength: 10 }),
      async (archives) => {
        const paths = archives.map((_, index) => join(work, `random-${index}.tar`));
        for (const [index, path] of paths.entries()) writeFileSync(path, archives[index] ?? '');
        await comparedWithPython(...paths);
      },
    ),
    { numRuns: 4 },
  );
});

const randomArchive = fc
  .record({
    format: fc.constantFrom<TarFormat>('gnu', 'pax'),
    entries: fc.array(
      fc.record(
        {
          path: fc
            .array(fc.constantFrom('a', 'é', '.b', 'n'.repeat(60)), { minLength: 1, maxLength: 6 })
            .map((names) => names.join('/')),
          type: fc.constantFrom(
            'file',
            'directory',
            'symlink',
            'hardlink',
            'character-device',
            'fifo',
          ),
          mode: fc.nat(0o7777),
          uid: fc.nat(4_294_967_294),
          gid: fc.nat(4_294_967_294),
          modified: fc.integer({ min: -(2 ** 33), max: 2 ** 34 }),
          deviceMajor: fc.nat(4095),
          deviceMinor: fc.nat(1_048_575),
        },
        { noNullPrototype: true },
      ),
      { minLength: 1, maxLength: 30 },
    ),
  })
  .map(({ format, entries }) =>
    buildTar(
      entries.map((entry) => ({
        ...entry,
        type: entry.type as 'file',
        ...(entry.type === 'file' ? { content: Buffer.alloc(entry.mode, entry.path) } : {}),
        ...(entry.type.endsWith('link') ? { linkTarget: `${entry.path}/x` } : {}),
        ...(entry.type.endsWith('device') ? {} : { deviceMajor: 0, deviceMinor: 0 }),
      })),
      { format },
    ),
  );
