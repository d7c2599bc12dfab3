import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';

import fc from 'fast-check';

import { errorCode } from '../base/index.ts';
import { decodeHead, decodeList } from './archive-plan.ts';
import { checkZip } from './check-zip.ts';
import { directoryMode, fileMode, linkMode, makeZip, type ZipInput } from './testing/make-zip.ts';

async function refusal(entries: readonly ZipInput[] | Buffer): Promise<string> {
  const zip = Buffer.isBuffer(entries) ? entries : makeZip(entries);
  const thrown = await checkZip(zip).then(
    () => assert.fail('it was taken'),
    (reason: unknown) => reason as Error,
  );
  return `${errorCode(thrown)}: ${thrown.message}`;
}

async function planOf(entries: readonly ZipInput[]) {
  const { head, lists } = await checkZip(makeZip(entries));
  const plan = decodeHead(head);
  const files = plan.parts.flatMap(({ listOffset, listBytes }) =>
    decodeList(lists.subarray(listOffset, listOffset + listBytes)),
  );
  return { plan, files };
}

const refused: Readonly<Record<string, readonly [readonly ZipInput[], RegExp]>> = {
  'nothing in it': [[], /empty/],
  'a path that leads out': [[{ name: 'a/../../b' }], /invalid relative path/],
  'an absolute path': [[{ name: '/etc/passwd' }], /absolute path/],
  'a drive': [[{ name: 'C:/x' }], /absolute path/],
  'a path that leads out by backslashes': [[{ name: '..\\b' }], /invalid relative path/],
  'a zero byte in a name': [[{ name: 'a\0b' }], /zero byte/],
  'a name that is no UTF-8': [[{ name: Buffer.from([0x61, 0xff]) }], /UTF-8/],
  'a name too long for Linux': [[{ name: 'x'.repeat(256) }], /255 bytes/],
  'a path too long for Linux': [[{ name: 'x/'.repeat(2000) + 'x' }], /3500 bytes/],
  'one file twice': [[{ name: 'a' }, { name: './a' }], /"a" twice/],
  'a file as a directory': [[{ name: 'a' }, { name: 'a/b' }], /"a" as a file and as a directory/],
  'a directory as a file': [[{ name: 'a/b' }, { name: 'a' }], /"a" twice/],
  'a file below a link': [
    [{ name: 'a', content: 'b', mode: linkMode }, { name: 'a/c' }],
    /"a" as a link and as a directory/,
  ],
  'an absolute link': [[{ name: 'a', content: '/etc', mode: linkMode }], /"a" leads out/],
  'a link to above': [[{ name: 'd/a', content: '../../x', mode: linkMode }], /"d\/a" leads out/],
  'a link that leads out through another': [
    [
      { name: 'up', content: '.', mode: linkMode },
      { name: 'd/here', content: '../up', mode: linkMode },
      { name: 'd/out', content: 'here/..', mode: linkMode },
    ],
    /"d\/out" leads out/,
  ],
  'a link to nowhere': [[{ name: 'a', content: '', mode: linkMode }], /no usable target/],
  'a device': [[{ name: 'a', mode: 0o020644 }], /neither file, directory nor symbolic link/],
  'a directory with content': [[{ name: 'a/', content: 'x' }], /has content/],
  'an encrypted file': [[{ name: 'a', flags: 0x801, content: 'x' }], /"a" is encrypted/],
  'a compression nobody reads': [[{ name: 'a', method: 14, content: 'x' }], /method 14/],
  'another checksum': [[{ name: 'a', content: 'x', crc: 1 }], /checksum/],
  'more content than it says': [
    [{ name: 'a', content: Buffer.alloc(2 ** 20), saidBytes: 10 }],
    /cannot be unpacked/,
  ],
  'less content than it says': [[{ name: 'a', content: 'x', saidBytes: 2 }], /2 bytes/],
  'data that do not end': [
    [{ name: 'a', content: 'x', data: deflateRawSync(Buffer.from('abcdef')).subarray(0, 4) }],
    /cannot be unpacked/,
  ],
  'a size that is not the stored one': [
    [{ name: 'a', content: 'xyz', isStored: true, saidBytes: 2 }],
    /size mismatch/,
  ],
  'files that share their data': [
    [
      { name: 'a', content: 'x' },
      { name: 'b', content: 'x', sharesDataOf: 0 },
    ],
    /overlaps another entry/,
  ],
};

for (const [what, [entries, message]] of Object.entries(refused)) {
  test(`checkZip refuses ${what}`, async () => {
    const said = await refusal(entries);
    assert.match(said, /^ERR_ARCHIVE_BAD_ZIP: Could not unzip uploaded file: /);
    assert.match(said, message);
  });
}

test('checkZip refuses what is no zip file, and a part of one', async () => {
  const zip = makeZip([{ name: 'a', content: 'content of a file' }]);
  for (const bytes of [Buffer.alloc(0), Buffer.from('PK'), zip.subarray(0, -1), zip.subarray(1)]) {
    assert.match(await refusal(bytes), /^ERR_ARCHIVE_BAD_ZIP/);
  }
  assert.match(await refusal(makeZip([{ name: 'a' }], { entriesSaid: 2 })), /^ERR_ARCHIVE_BAD_ZIP/);
});

test('checkZip refuses more than 250 MiB, by what the directory says and by what there is', async () => {
  const zeros = Buffer.alloc(2 ** 20);
  const honest = { content: zeros, saidBytes: 251 * 2 ** 20 };
  assert.equal(
    await refusal([{ name: 'a', ...honest }]),
    'ERR_ARCHIVE_TOO_LARGE: Unzipped size must be smaller than 262144000 bytes',
  );
  const liar = { name: 'a', content: Buffer.alloc(300 * 2 ** 20), saidBytes: 200 * 2 ** 20 };
  assert.match(await refusal([liar]), /^ERR_ARCHIVE_BAD_ZIP.*209715200 bytes/);
  const tooLarge = Buffer.alloc(250 * 2 ** 20 + 1);
  assert.match(await refusal(tooLarge), /^ERR_ARCHIVE_TOO_LARGE: Zipped/);
});

test('checkZip keeps links that stay inside, to nothing and in loops', async () => {
  const { plan } = await planOf([
    { name: 'lib/libx.so.1', content: 'x' },
    { name: 'lib/libx.so', content: 'libx.so.1', mode: linkMode },
    { name: 'bin/x', content: '../lib/libx.so', mode: linkMode },
    { name: 'a', content: 'b', mode: linkMode },
    { name: 'b', content: 'a', mode: linkMode },
    { name: 'c', content: 'not/there', mode: linkMode },
  ]);
  assert.deepEqual(
    plan.links.map(({ path, target }) => [path, target]),
    [
      ['lib/libx.so', 'libx.so.1'],
      ['bin/x', '../lib/libx.so'],
      ['a', 'b'],
      ['b', 'a'],
      ['c', 'not/there'],
    ],
  );
});

test('checkZip tells names apart by case, and takes directories as often as they come', async () => {
  const { plan, files } = await planOf([
    { name: 'd/README' },
    { name: 'd/', mode: directoryMode },
    { name: 'd/readme' },
    { name: 'd/', mode: directoryMode },
    { name: './', mode: directoryMode },
  ]);
  assert.deepEqual(
    files.map(({ path }) => path),
    ['d/README', 'd/readme'],
  );
  assert.equal(plan.directories.length, 2);
});

test('checkZip gives everybody what the owner may do, but for writing', async () => {
  const modes = [0o100600, 0o100700, 0o104755, 0o100640, 0, fileMode].map((mode, index) => ({
    name: `${index}`,
    mode,
  }));
  const { files } = await planOf(modes);
  assert.deepEqual(
    files.map(({ mode }) => mode.toString(8)),
    ['644', '755', '755', '644', '644', '644'],
  );
});

test('checkZip ends soon on links that lead round and round', async () => {
  const links = Array.from({ length: 3000 }, (_, index) => ({
    name: `${index}`,
    content: `${`${index + 1}/`.repeat(600)}x`,
    mode: linkMode,
  }));
  assert.match(await refusal(links), /too far/);
});

const goodZip = makeZip([
  { name: 'a/b.js', content: 'exports.handler = async () => 1;'.repeat(30) },
  { name: 'a/c', content: 'stored', isStored: true },
  { name: 'l', content: 'a/c', mode: linkMode },
  { name: 'd/', mode: directoryMode },
]);

test('checkZip takes or refuses an archive with any bytes changed, and never fails otherwise', async () => {
  const position = fc.nat(goodZip.byteLength - 1);
  const change = fc.tuple(position, fc.integer({ min: 1, max: 255 }));
  const cut = fc.option(position);
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { minLength: 1, maxLength: 4 }),
      cut,
      async (changes, end) => {
        const zip = Buffer.from(goodZip);
        for (const [at, xor] of changes) zip[at] = (zip[at] ?? 0) ^ xor;
        try {
          const { facts } = await checkZip(end === null ? zip : zip.subarray(0, end));
          assert.ok(facts.unpackedBytes < 10_000);
        } catch (thrown) {
          assert.match(errorCode(thrown) ?? String(thrown), /^ERR_ARCHIVE_(BAD_ZIP|TOO_LARGE)$/);
        }
      },
    ),
    { numRuns: 1500 },
  );
});

test('every single bit of an archive may be flipped', async () => {
  for (let bit = 0; bit < goodZip.byteLength * 8; bit += 1) {
    const zip = Buffer.from(goodZip);
    zip[bit >> 3] = (zip[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    await checkZip(zip).catch((thrown: unknown) => {
      assert.match(errorCode(thrown) ?? String(thrown), /^ERR_ARCHIVE_(BAD_ZIP|TOO_LARGE)$/);
    });
  }
});
