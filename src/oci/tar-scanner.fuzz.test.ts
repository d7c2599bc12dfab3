/**
 * Whatever the bytes, scanning them ends, in good entries or in a coded error. Checksums are put right after each
 * mutation, or hardly any would get past them.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';

import { randomAccessOf } from '../base/index.ts';
import {
  buildTar,
  gnuMagic,
  paxBlock,
  padded,
  tarEntry,
  tarHeader,
} from '../../test/support/tar-builder.ts';
import { TarFormatError, scanTar, tarErrorCodes } from './index.ts';

/** The code of the error that ended the scan, if any. */
async function scanToTheEnd(archive: Buffer): Promise<string | undefined> {
  let count = 0;
  try {
    for await (const entry of scanTar(randomAccessOf(archive))) {
      count += 1;
      assert.ok(count * 512 <= archive.byteLength, 'every entry has a header of its own');
      let fileEnd = 0;
      for (const { fileOffset, tarOffset, lengthBytes } of entry.segments) {
        assert.ok(fileOffset >= fileEnd && lengthBytes > 0);
        fileEnd = fileOffset + lengthBytes;
        assert.ok(tarOffset >= 512 && tarOffset + lengthBytes <= archive.byteLength);
      }
      assert.ok(fileEnd <= entry.sizeBytes && entry.sizeBytes <= 2 ** 44);
      assert.ok([entry.mode, entry.uid, entry.gid].every((value) => value >= 0 && value < 2 ** 32));
      const { seconds, nanoseconds } = entry.modified;
      assert.ok(Number.isSafeInteger(seconds) && nanoseconds >= 0 && nanoseconds < 1e9);
    }
    return undefined;
  } catch (thrown) {
    if (!(thrown instanceof TarFormatError)) throw thrown;
    assert.ok(thrown.code in tarErrorCodes);
    assert.ok(thrown.offset >= 0 && thrown.offset <= archive.byteLength);
    return thrown.code;
  }
}

const sparseMap = padded(Buffer.from('2\n0\n512\n4096\n100\n'));
const sparseRecords = {
  'GNU.sparse.major': '1',
  'GNU.sparse.minor': '0',
  'GNU.sparse.realsize': '9000',
};
const oldSparse = Buffer.alloc(167);
oldSparse.write('00000000000\x0000000001000\x00', 41);
oldSparse[137] = 1;
oldSparse.write('00000010000\x00', 138);
const oldSparseMore = Buffer.alloc(512);
oldSparseMore.write('00000004000\x0000000000010\x00', 0);

/** Something of everything that the scanner knows. */
const valid = Buffer.concat([
  buildTar(
    [
      { path: 'd/' },
      { path: 'd/file', content: 'x'.repeat(700), xattrs: { 'user.a': 'b' }, uid: 2 ** 31 },
      { path: 'd/é', type: 'symlink', linkTarget: 'ü', modified: { seconds: -5, nanoseconds: 1 } },
      { path: 'dev', type: 'block-device', deviceMajor: 8, deviceMinor: 1 },
    ],
    { end: false },
  ),
  paxBlock(sparseRecords),
  tarHeader({ name: 'sparse', size: 512 + 612 }),
  sparseMap,
  padded(Buffer.alloc(612, 'd')),
  paxBlock({ 'GNU.sparse.map': '0,1,5,2', 'GNU.sparse.size': '8' }),
  tarHeader({ name: 'sparse', size: 3 }),
  padded(Buffer.from('abc')),
  tarHeader({ name: 'old', typeflag: 'S', magic: gnuMagic, size: 520, rest: oldSparse }),
  oldSparseMore,
  padded(Buffer.alloc(520, 'd')),
  paxBlock({ comment: 'global' }, 'g'),
  tarEntry({ path: 'l'.repeat(200), type: 'hardlink', linkTarget: 'k'.repeat(200) }, 'gnu'),
  buildTar([{ path: 'v7/' }, { path: 'v7/f', content: 'x' }], { format: 'v7' }),
]);
/** Where blocks with a right checksum lie. */
const headerOffsets = Array.from(
  { length: valid.byteLength / 512 },
  (_, index) => index * 512,
).filter(
  (offset) =>
    checksumOf(valid, offset) ===
    Number.parseInt(valid.toString('latin1', offset + 148, offset + 154), 8),
);

function checksumOf(bytes: Buffer, offset: number): number {
  const own =
    8 * 0x20 - bytes.subarray(offset + 148, offset + 156).reduce((sum, byte) => sum + byte, 0);
  return bytes.subarray(offset, offset + 512).reduce((sum, byte) => sum + byte, own);
}

function fixChecksums(archive: Buffer): Buffer {
  for (const offset of headerOffsets.filter((offset) => offset + 512 <= archive.byteLength)) {
    archive.write(`${checksumOf(archive, offset).toString(8).padStart(6, '0')}\0 `, offset + 148);
  }
  return archive;
}

const byte = fc.oneof(
  fc.nat(255),
  fc.constantFrom(...Buffer.from('\x00 0179-=,.\n/xgLKS\x80\xff', 'latin1')),
);

/** Bytes overwritten inside headers and extended headers, most of them in fields that mean something. */
const mutated = fc
  .record({
    edits: fc.array(fc.tuple(fc.nat(valid.byteLength - 1), byte), { minLength: 1, maxLength: 8 }),
    fields: fc.array(
      fc.tuple(
        fc.constantFrom(...headerOffsets),
        fc.constantFrom(100, 108, 116, 124, 128, 135, 136, 156, 257, 263, 345, 386, 398, 482, 483),
        byte,
      ),
      { maxLength: 6 },
    ),
    length: fc.oneof(
      { weight: 4, arbitrary: fc.constant(valid.byteLength) },
      { weight: 1, arbitrary: fc.nat(valid.byteLength) },
    ),
  })
  .map(({ edits, fields, length }) => {
    const archive = Buffer.from(valid);
    for (const [offset, value] of edits) archive[offset] = value;
    for (const [offset, field, value] of fields) archive[offset + field] = value;
    return fixChecksums(archive.subarray(0, length));
  });

test('the archive that is mutated is valid', async () => {
  assert.equal(await scanToTheEnd(valid), undefined);
  assert.equal(await scanToTheEnd(fixChecksums(Buffer.from(valid))), undefined);
  assert.ok(headerOffsets.length > 15);
});

test('mutated archives give entries or a coded error', async () => {
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(mutated, async (archive) => {
      seen.add((await scanToTheEnd(archive)) ?? 'none');
    }),
    { numRuns: 3000 },
  );
  // The mutations would be too tame, or too wild, if one of these were missing.
  const wanted = ['none', 'HEADER', 'PAX', 'SPARSE', 'TRUNCATED', 'TYPE'];
  const codes = [...seen].map((code) => code.replace('ERR_OCI_TAR_', ''));
  assert.deepEqual(
    wanted.filter((code) => !codes.includes(code)),
    [],
  );
});

test('random bytes give a coded error, or nothing', async () => {
  const bytes = fc.uint8Array({ minLength: 0, maxLength: 5000, size: 'max' });
  await fc.assert(
    fc.asyncProperty(bytes, async (bytes) => void (await scanToTheEnd(Buffer.from(bytes)))),
    { numRuns: 300 },
  );
});

test('random headers with a right checksum give entries or a coded error', async () => {
  const block = fc.uint8Array({ minLength: 512, maxLength: 512 });
  const headers = fc.array(block, { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(headers, async (blocks) => {
      const archive = Buffer.concat(blocks);
      for (let offset = 0; offset < archive.byteLength; offset += 512) {
        const sum = checksumOf(archive, offset).toString(8).padStart(6, '0');
        archive.write(`${sum}\0 `, offset + 148);
      }
      await scanToTheEnd(archive);
    }),
    { numRuns: 300 },
  );
});
