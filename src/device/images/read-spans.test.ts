import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { fuseTransferMaxBytes } from '../fuse/fuse-protocol.ts';
import { spansOf } from './read-spans.ts';

test('spansOf covers what a read asks for, once, in order, and nothing past the end of the disk', () => {
  const chunkSizes = fc.integer({ min: 1, max: 64 }).map((pages) => pages * 4096);
  const anySize = fc.nat(2 ** 32 - 1);
  fc.assert(
    fc.property(
      chunkSizes,
      fc.nat(4_000_000),
      fc.nat(5_000_000),
      anySize,
      (chunkSizeBytes, diskSizeBytes, offset, size) => {
        let at = offset;
        for (const { index, start, end } of spansOf(
          { chunkSizeBytes, diskSizeBytes },
          { offset, size },
        )) {
          assert.equal(index * chunkSizeBytes + start, at);
          assert.ok(start < end && end <= chunkSizeBytes);
          at += end - start;
        }
        const wanted = Math.min(offset + Math.min(size, fuseTransferMaxBytes), diskSizeBytes);
        assert.equal(at, Math.max(offset, wanted));
      },
    ),
  );
});
