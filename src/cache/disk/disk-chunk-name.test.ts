import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import {
  diskChunkDirectories,
  diskChunkKey,
  diskChunkKeyOfFile,
  diskChunkLengthBytes,
  diskChunkPath,
} from './disk-chunk-name.ts';

const digests = fc.uint8Array({ minLength: 32, maxLength: 32 });
const blockCounts = fc.integer({ min: 1, max: 9_999_999 });

test('a chunk is known by its path again, and by it alone', () => {
  fc.assert(
    fc.property(digests, blockCounts, (ciphertextDigest, blockCount) => {
      const storedLengthBytes = blockCount * 4096;
      const key = diskChunkKey({ rootId: 'r', ciphertextDigest, storedLengthBytes });
      assert.equal(diskChunkLengthBytes(key), storedLengthBytes);
      const path = diskChunkPath(key);
      const [directory, name] = [path.slice(0, 3), path.slice(4)];
      assert.ok(diskChunkDirectories.includes(directory));
      assert.equal(diskChunkKeyOfFile(directory, name), key);
      const elsewhere = diskChunkDirectories.find((other) => other !== directory) ?? '';
      assert.equal(diskChunkKeyOfFile(elsewhere, name), undefined);
    }),
  );
});

test('names that are nearly those of chunks are not', () => {
  const hex = 'ab'.repeat(32);
  assert.notEqual(diskChunkKeyOfFile('a/b', `${hex}.1`), undefined);
  for (const name of [hex, `${hex}.`, `${hex}.0`, `${hex}.01`, `${hex}.1x`, `${hex}.12345678`]) {
    assert.equal(diskChunkKeyOfFile('a/b', name), undefined);
  }
  for (const name of [`${hex.toUpperCase()}.1`, `${hex.slice(2)}.1`, `x${hex}.1`, `${hex}.1\n`]) {
    assert.equal(diskChunkKeyOfFile('a/b', name), undefined);
  }
});
