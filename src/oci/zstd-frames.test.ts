import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

import fc from 'fast-check';

import { ZstdFormatError, ZstdFrameCutter } from './zstd-frames.ts';

function skippable(bytes: number): Buffer {
  const frame = Buffer.alloc(8 + bytes, 0xaa);
  frame.writeUInt32LE(0x184d2a53, 0);
  frame.writeUInt32LE(bytes, 4);
  return frame;
}

const parameters = { [constants.ZSTD_c_checksumFlag]: 1 };

/** Every shape of frame: empty, checksummed, RLE, raw and compressed blocks, several blocks. */
const frames: readonly Buffer[] = [
  zstdCompressSync(Buffer.alloc(0)),
  zstdCompressSync(Buffer.from('a')),
  zstdCompressSync(Buffer.from('checked'), { params: parameters }),
  zstdCompressSync(Buffer.alloc(300_000)),
  zstdCompressSync(randomBytes(150_000)),
  zstdCompressSync(Buffer.from('text '.repeat(60_000)), { params: parameters }),
  skippable(0),
  skippable(1000),
];

/** The bytes between the places where the cutter cut; a cut that only ends a chunk is joined again. */
function cutAll(chunks: readonly Buffer[], boundaries: ReadonlySet<number>): void {
  const cutter = new ZstdFrameCutter();
  let at = 0;
  for (const chunk of chunks) {
    for (const part of cutter.cut(chunk)) {
      const inside = [...boundaries].filter((edge) => edge > at && edge < at + part.byteLength);
      assert.deepEqual(inside, [], 'no part reaches over the end of a frame');
      at += part.byteLength;
    }
  }
  cutter.end();
}

test('ZstdFrameCutter cuts at the end of every frame, however the stream is chunked', () => {
  const sequence = fc.array(fc.nat({ max: frames.length - 1 }), { minLength: 1, maxLength: 6 });
  const sizes = fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(sequence, sizes, fc.boolean(), (order, chunkSizes, isTiny) => {
      const chosen = order.map((index) => frames[index] ?? Buffer.alloc(0));
      const stream = Buffer.concat(chosen);
      const edges = new Set<number>();
      chosen.reduce((end, frame) => {
        edges.add(end + frame.byteLength);
        return end + frame.byteLength;
      }, 0);
      const chunks: Buffer[] = [];
      for (let at = 0, turn = 0; at < stream.byteLength; turn += 1) {
        const size = isTiny && at < 200 ? 1 : (chunkSizes[turn % chunkSizes.length] ?? 1);
        chunks.push(stream.subarray(at, at + size));
        at += size;
      }
      cutAll(chunks, edges);
    }),
    { numRuns: 200 },
  );
});

test('ZstdFrameCutter refuses a stream that ends inside a frame, at any byte', () => {
  const frame = zstdCompressSync(Buffer.from('some text, some more text'), { params: parameters });
  for (let length = 1; length < frame.byteLength; length += 1) {
    const cutter = new ZstdFrameCutter();
    Array.from(cutter.cut(frame.subarray(0, length)));
    assert.throws(() => cutter.end(), ZstdFormatError, `cut short to ${length} bytes`);
  }
});

test('ZstdFrameCutter refuses what is no frame after a frame', () => {
  const cutter = new ZstdFrameCutter();
  const stream = Buffer.concat([zstdCompressSync(Buffer.from('a')), Buffer.from('junk')]);
  assert.throws(() => Array.from(cutter.cut(stream)), ZstdFormatError);
});

test('Node still drops what follows the first frame, which is why ZstdFrameCutter exists', () => {
  const two = Buffer.concat([
    zstdCompressSync(Buffer.from('a')),
    zstdCompressSync(Buffer.from('b')),
  ]);
  assert.equal(zstdDecompressSync(two).toString(), 'a');
});
