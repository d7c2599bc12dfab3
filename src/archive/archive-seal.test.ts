import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import fc from 'fast-check';

import { errorCode, present } from '../base/index.ts';
import { archiveHeader } from './archive-layout.ts';
import {
  frameArchive,
  openRange,
  piecesOf,
  readFrame,
  sealArchive,
  sealedBytesOf,
  sealedRange,
} from './archive-seal.ts';
import type { ArchiveRef } from './code-archives.ts';

const of: ArchiveRef = { tenant: 'a', rootId: 'root', archiveId: 'f'.repeat(64) };
const key = randomBytes(32);

function seal(head: Uint8Array, lists: Uint8Array, zip: Uint8Array): Uint8Array {
  const lengths = {
    headBytes: head.byteLength,
    listsBytes: lists.byteLength,
    zipBytes: zip.byteLength,
  };
  return sealArchive([head, lists, zip], key, frameArchive(of, Buffer.alloc(60, 7), lengths));
}

const small = seal(Buffer.from('head'), Buffer.from('lists'), Buffer.from('zip'));

function openAll(sealed: Uint8Array, ref: ArchiveRef = of, openKey: Uint8Array = key): string {
  const { frame } = readFrame(ref, sealed);
  const to = frame.headBytes + frame.listsBytes + frame.zipBytes;
  return Buffer.from(openRange(sealed, openKey, frame, { from: 0, to })).toString();
}

test('openRange gives any range of what was sealed, over any number of segments', () => {
  const plain = randomBytes(3 * 256 * 1024 + 100);
  const sealed = seal(plain.subarray(0, 1000), plain.subarray(1000, 2000), plain.subarray(2000));
  const { frame } = readFrame(of, sealed);
  const offset = fc.oneof(
    fc.nat(plain.byteLength),
    fc.constantFrom(0, 256 * 1024, 512 * 1024, plain.byteLength),
  );
  fc.assert(
    fc.property(offset, offset, (a, b) => {
      const [from, to] = [Math.min(a, b), Math.max(a, b)];
      const opened = openRange(sealed, key, frame, { from, to });
      assert.ok(Buffer.from(opened).equals(plain.subarray(from, to)));
    }),
    { numRuns: 50 },
  );
});

test('pieces hold all sealed bytes once, and whole segments, of archives of any size', () => {
  const bytes = fc.nat(40 * 2 ** 20);
  fc.assert(
    fc.property(bytes, bytes, bytes, (headBytes, listsBytes, zipBytes) => {
      const lengths = { headBytes, listsBytes, zipBytes };
      const { frame, front } = frameArchive(of, Buffer.alloc(60), lengths);
      const pieces = piecesOf(frame);
      assert.equal(pieces[0]?.from, 0);
      assert.equal(pieces.at(-1)?.to, sealedBytesOf(frame));
      for (const [number, { from, to }] of pieces.entries()) {
        assert.ok(from < to);
        if (number > 0) assert.equal(from, pieces[number - 1]?.to);
        if (number > 0) assert.equal((from - front.byteLength) % (256 * 1024 + 16), 0);
      }
      const plain = { from: 0, to: headBytes + listsBytes };
      assert.ok(sealedRange(frame, plain).to <= present(pieces[0], 'first piece').to);
    }),
  );
});

test('a sealed archive opens for its tenant, in its root, under its id and key only', () => {
  assert.equal(openAll(small), 'headlistszip');
  const others: ArchiveRef[] = [
    { ...of, tenant: 'b' },
    { ...of, rootId: 'other' },
    { ...of, archiveId: '0'.repeat(64) },
  ];
  for (const other of others) {
    assert.throws(() => openAll(small, other), { code: 'ERR_ARCHIVE_CORRUPT' });
  }
  assert.throws(() => openAll(small, of, Buffer.alloc(32)), { code: 'ERR_ARCHIVE_CORRUPT' });
});

test('no byte of a sealed archive can be changed, and none left out or added', () => {
  for (let at = 0; at < small.byteLength; at += 1) {
    const changed = Buffer.from(small);
    changed[at] = (changed[at] ?? 0) ^ 1;
    assert.throws(() => openAll(changed), { code: 'ERR_ARCHIVE_CORRUPT' }, `byte ${at}`);
    assert.throws(() => openAll(small.subarray(0, at)), { code: 'ERR_ARCHIVE_CORRUPT' });
  }
  assert.throws(() => openAll(Buffer.concat([small, Buffer.alloc(1)])), {
    code: 'ERR_ARCHIVE_CORRUPT',
  });
});

test('any bytes are refused as an archive by a code', () => {
  const front = fc.uint8Array({ maxLength: 200 }).map((rest) => {
    return Buffer.concat([small.subarray(0, 16), rest]);
  });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), front), (bytes) => {
      try {
        openAll(bytes);
        assert.fail('it opened');
      } catch (thrown) {
        assert.equal(errorCode(thrown), 'ERR_ARCHIVE_CORRUPT');
      }
    }),
  );
});

test('docs/formats/archive.md has the rows of the header', async () => {
  const path = join(import.meta.dirname, '../../docs/formats/archive.md');
  const document = await readFile(path, 'utf8');
  const rows = [...document.matchAll(/^\| 0x([0-9a-f]+) \| (\w+) \| `(\w+)` \|/gm)].map(
    ([, offset = '', type, name]) => [Number.parseInt(offset, 16), type, name],
  );
  assert.deepEqual(rows, archiveHeader.rows);
});
