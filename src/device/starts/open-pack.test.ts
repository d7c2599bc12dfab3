import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { present, toHex } from '../../base/index.ts';
import { ChunkSlab, SlabView } from '../../cache/index.ts';
import { openChunk } from '../../chunk/index.ts';
import { allPages, pageSizeBytes, pagesPerWindow } from './file-windows.ts';
import { OpenPack } from './open-pack.ts';
import { writeStartPack } from './pack-writer.ts';
import { packedBlocksMax } from './start-pack.ts';

const slotSizeBytes = packedBlocksMax * pageSizeBytes;

/** Block `n` is full of the byte n; those from 220 on are zeros. */
const disk = Buffer.concat(
  Array.from({ length: 256 }, (_, block) => Buffer.alloc(pageSizeBytes, block < 220 ? block : 0)),
);

/** All but the first, and the one of blocks 80..95: 224 blocks, in two chunks, first read in another order than they lie in. */
const windows = Array.from({ length: 16 }, (_, window) => ({
  inode: 12,
  window,
  pages: allPages,
  diskBlock: window * pagesPerWindow,
  atUs: (window * 7) % 16,
})).filter(({ window }) => window !== 0 && window !== 5);

const kept = new Map<string, Uint8Array>();
const pack = await writeStartPack(windows, undefined, {
  chunkSizeBytes: slotSizeBytes,
  salt: Buffer.alloc(32, 0xa5),
  codec: 'zstd-v1',
  read: async (offset, sizeBytes) => disk.subarray(offset, offset + sizeBytes),
  keep: async (digestHex, ciphertext) => void kept.set(digestHex, ciphertext),
  readBack: async () => {},
});

function isPacked(offset: number): boolean {
  const window = Math.floor(offset / pageSizeBytes / pagesPerWindow);
  return window !== 0 && window !== 5;
}

function newSlab(): ChunkSlab {
  return new ChunkSlab({ memoryBytes: 4 * slotSizeBytes, slotSizeBytes });
}

/** As a loader does: opens the chunk by what the pack says of it. */
function load(slab: ChunkSlab, open: OpenPack, index: number): void {
  const { chunk, identity } = present(open.chunk(index), 'a chunk of the pack');
  const ciphertext = present(kept.get(toHex(chunk.ciphertextDigest)), 'a stored chunk');
  assert.ok(slab.insert(identity, openChunk(chunk, ciphertext)));
  assert.ok(slab.publish(open.table, index, identity));
}

test('OpenPack reads from the slab just what is packed, as the disk has it', () => {
  const slab = newSlab();
  const open = new OpenPack(pack, 'root', slab);
  const view = new SlabView(slab.memory);
  for (const index of [0, 1]) {
    assert.equal(view.pin(open.table.entries, index), undefined);
    load(slab, open, index);
  }
  const read = (offset: number, sizeBytes: number): Buffer | undefined => {
    const spans = open.spans(offset, sizeBytes);
    if (spans === undefined) return undefined;
    const parts = spans.map(({ index, start, end }) => {
      const slot = view.pin(open.table.entries, index);
      assert.ok(typeof slot === 'number');
      return view.bytes(slot, start, end);
    });
    return Buffer.concat(parts);
  };
  const offsets = fc.nat(disk.byteLength - 1);
  const sizes = fc.oneof(fc.integer({ min: 1, max: 9000 }), fc.integer({ min: 1, max: 600_000 }));
  fc.assert(
    fc.property(offsets, sizes, (offset, size) => {
      const end = Math.min(offset + size, disk.byteLength);
      let isWhole = true;
      for (let at = offset; at < end; at += 1) isWhole &&= isPacked(at);
      const got = read(offset, end - offset);
      assert.equal(got !== undefined, isWhole);
      assert.ok(got === undefined || got.equals(disk.subarray(offset, end)));
    }),
  );
});

test('OpenPack finds what another image of the root has brought in, and nothing of another root', () => {
  const slab = newSlab();
  const [one, other, stranger] = ['root', 'root', 'another'].map(
    (rootId) => new OpenPack(pack, rootId, slab),
  );
  assert.ok(one !== undefined && other !== undefined && stranger !== undefined);
  load(slab, one, 1);
  const isFound = (open: OpenPack): boolean => {
    return slab.publish(open.table, 1, present(open.chunk(1), 'a chunk').identity);
  };
  assert.deepEqual([other, stranger].map(isFound), [true, false]);
  assert.equal(stranger.chunk(1)?.chunk.rootId, 'another');
});

test('OpenPack has no chunk past the last one, and in an empty pack none at all', () => {
  const open = new OpenPack(pack, 'root', newSlab());
  assert.equal(open.table.entries.length, 2);
  assert.deepEqual(
    [1, 2, 3].map((index) => open.chunk(index) !== undefined),
    [true, false, false],
  );
  const empty = new OpenPack({ chunks: [] }, 'root', newSlab());
  assert.equal(empty.chunk(0), undefined);
  assert.equal(empty.spans(0, 1), undefined);
});

test("OpenPack notes the first reads of the pack's own chunks", () => {
  const { firstReads } = new OpenPack(pack, 'root', newSlab());
  firstReads.note(1, 0, slotSizeBytes);
  assert.deepEqual(
    [0, 1].map((index) => firstReads.has(index)),
    [false, true],
  );
  assert.deepEqual(
    firstReads.list().map(({ index }) => index),
    [1],
  );
});
