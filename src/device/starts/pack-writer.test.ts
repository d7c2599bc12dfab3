import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';

import fc from 'fast-check';

import { toHex } from '../../base/index.ts';
import { openChunk } from '../../chunk/index.ts';
import { pageSizeBytes, type ReadWindow } from './file-windows.ts';
import { writeStartPack, type PackSource } from './pack-writer.ts';
import {
  blockCountOf,
  planPack,
  type PackRun,
  type PackedChunk,
  type StartPack,
} from './start-pack.ts';

/** A block of a disk on which every third one is zeros, and all of them from 1000 to 2047. */
function blockAt(block: number): Uint8Array {
  if (block % 3 === 0 || (block >= 1000 && block < 2048)) return Buffer.alloc(pageSizeBytes);
  if (block % 3 === 1) return Buffer.alloc(pageSizeBytes, `block ${block}\n`);
  return createHash('shake256', { outputLength: pageSizeBytes }).update(`${block}`).digest();
}

function blocksAt(diskBlock: number, blockCount: number): Buffer {
  return Buffer.concat(Array.from({ length: blockCount }, (_, at) => blockAt(diskBlock + at)));
}

/** Reads that disk, and keeps in memory. */
class MemorySource implements PackSource {
  readonly chunkSizeBytes = 512 * 1024;
  readonly salt = Buffer.alloc(32, 0xa5);
  readonly codec: PackSource['codec'];
  readonly kept = new Map<string, Uint8Array>();
  readonly readRuns: PackRun[] = [];

  constructor(codec: PackSource['codec'] = 'zstd-v1') {
    this.codec = codec;
  }

  readonly read = async (offset: number, sizeBytes: number): Promise<Uint8Array> => {
    const run = { diskBlock: offset / pageSizeBytes, blockCount: sizeBytes / pageSizeBytes };
    this.readRuns.push(run);
    return blocksAt(run.diskBlock, run.blockCount);
  };

  readonly keep = async (digestHex: string, ciphertext: Uint8Array): Promise<void> => {
    assert.equal(createHash('sha256').update(ciphertext).digest('hex'), digestHex);
    this.kept.set(digestHex, ciphertext);
  };

  readonly readBack = async ({ ciphertextDigest }: PackedChunk): Promise<void> => {
    assert.ok(this.kept.has(Buffer.from(ciphertextDigest).toString('hex')), 'kept before');
  };

  /** This one, but for what is given. */
  but(changes: Partial<PackSource>): PackSource {
    const { chunkSizeBytes, salt, codec, read, keep, readBack } = this;
    return { chunkSizeBytes, salt, codec, read, keep, readBack, ...changes };
  }

  /** What the pack's chunks hold, opened as any chunk, with the zeros after. */
  opened({ chunks }: StartPack): readonly Buffer[] {
    return chunks.map((chunk) => {
      const ciphertext = this.kept.get(toHex(chunk.ciphertextDigest));
      assert.ok(ciphertext !== undefined, 'a chunk was not kept');
      const bytes = Buffer.alloc(blockCountOf(chunk.runs) * pageSizeBytes);
      bytes.set(openChunk({ ...chunk, lengthMaxBytes: bytes.byteLength }, ciphertext));
      return bytes;
    });
  }
}

/** Of one page each, read in this order. */
function windowsOf(blocks: Iterable<number>): readonly ReadWindow[] {
  return [...blocks].map((diskBlock, at) => ({
    inode: 12,
    window: at,
    pages: 1,
    diskBlock,
    atUs: at * 100,
  }));
}

/** `count` blocks that lie one after the other. */
function blocksFrom(diskBlock: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => diskBlock + at);
}

/** So small that each of `places` has one of its own. */
const smallChunks = { chunkSizeBytes: 16 * pageSizeBytes };
const placePages = 0x7fff;

/** Where the places are. */
const placeBlocks = [9000, 6144, 3000, 7003, 5002, 8001];

/** Windows of the first so many of these blocks, but for a page, read in this order. */
function places(count: number): readonly ReadWindow[] {
  const windows = windowsOf(placeBlocks.slice(0, count));
  return windows.map((window) => ({ ...window, pages: placePages }));
}

test('every chunk of the plan that is not all zeros opens to the bytes of the disk', async () => {
  const block = fc.oneof(fc.nat(200), fc.integer({ min: 990, max: 1200 }), fc.nat(9000));
  const blockLists = fc.array(block, { maxLength: 300, size: 'max' }); // read in this order
  await fc.assert(
    fc.asyncProperty(blockLists, fc.constantFrom('none', 'zstd-v1'), async (blocks, codec) => {
      const source = new MemorySource(codec);
      const windows = windowsOf(blocks);
      const pack = await writeStartPack(windows, undefined, source);
      const expected = planPack(windows)
        .map((runs) => ({
          runs,
          bytes: Buffer.concat(runs.map((run) => blocksAt(run.diskBlock, run.blockCount))),
        }))
        .filter(({ bytes }) => bytes.some((byte) => byte !== 0));
      const opened = source.opened(pack);
      assert.deepEqual(
        pack.chunks.map(({ runs }) => runs),
        expected.map(({ runs }) => runs),
      );
      assert.ok(opened.every((bytes, at) => expected[at]?.bytes.equals(bytes)));
    }),
    { numRuns: 40, endOnFailure: true }, // to shrink it takes minutes
  );
});

test('a chunk is compressed where that is asked for and pays', async () => {
  const text = windowsOf(blocksFrom(0, 40).map((block) => 1 + 3 * block));
  const noise = windowsOf(blocksFrom(0, 40).map((block) => 2 + 3 * block));
  const codecOf = async (windows: readonly ReadWindow[], codec: PackSource['codec']) => {
    const { chunks } = await writeStartPack(windows, undefined, new MemorySource(codec));
    return chunks.map((chunk) => chunk.codec);
  };
  assert.deepEqual(await codecOf(text, 'zstd-v1'), ['zstd-v1']);
  assert.deepEqual(await codecOf(text, 'none'), ['none']);
  assert.deepEqual(await codecOf(noise, 'zstd-v1'), ['none']);
});

test('no chunk is longer than those of the disk, nor than 512 KiB', async () => {
  const windows = windowsOf(blocksFrom(0, 260).map((block) => 1 + 3 * block));
  for (const [chunkSizeBytes, blocksMax] of [
    [2 ** 22, 128],
    [2 ** 19, 128],
    [2 ** 18, 64],
    [2 ** 16, 16],
    [2 ** 12, 1],
  ] as const) {
    const source = new MemorySource().but({ chunkSizeBytes });
    const { chunks } = await writeStartPack(windows, undefined, source);
    const lengths = chunks.map(({ runs }) => blockCountOf(runs));
    assert.deepEqual(lengths, planPack(windows, blocksMax).map(blockCountOf));
    assert.ok(lengths.length > 1 && Math.max(...lengths) <= blocksMax);
  }
});

test('zeros at the end of a chunk are not stored', async () => {
  const source = new MemorySource('none');
  const pack = await writeStartPack(windowsOf(blocksFrom(990, 20)), undefined, source);
  assert.equal(pack.chunks[0]?.storedLengthBytes, 9 * pageSizeBytes);
  assert.ok(blocksAt(990, 20).equals(source.opened(pack)[0] ?? Buffer.alloc(0)));
});

test('chunks that are all zeros are left out, and those before and after them are not', async () => {
  const memory = new MemorySource();
  const source = memory.but(smallChunks);
  const zeros = windowsOf([1000]).map((window) => ({ ...window, pages: placePages, atUs: 50 }));
  const { chunks } = await writeStartPack([...places(2), ...zeros], undefined, source);
  assert.deepEqual(
    chunks.map(({ runs }) => runs),
    [[{ diskBlock: 9000, blockCount: 15 }], [{ diskBlock: 6144, blockCount: 15 }]],
  );
  assert.equal(memory.kept.size, 2);
  const none = await writeStartPack(windowsOf(blocksFrom(1000, 40)), undefined, source);
  assert.deepEqual(none, { chunks: [] });
});

test('chunks of the pack before whose runs are the same are taken over unread', async () => {
  const windows = places(4);
  const before = await writeStartPack(windows, undefined, new MemorySource().but(smallChunks));
  assert.deepEqual(
    before.chunks.map(({ runs }) => runs),
    placeBlocks.slice(0, 4).map((diskBlock) => [{ diskBlock, blockCount: 15 }]),
  );
  const idle = new MemorySource();
  assert.deepEqual(await writeStartPack(windows, before, idle.but(smallChunks)), before);
  assert.deepEqual([idle.readRuns, idle.kept.size], [[], 0]);

  const source = new MemorySource();
  const more = windows.map((window) =>
    window.diskBlock === 6144 ? { ...window, pages: 0xffff } : window,
  );
  const after = await writeStartPack(more, before, source.but(smallChunks));
  assert.deepEqual(source.readRuns, [{ diskBlock: 6144, blockCount: 16 }]);
  assert.equal(source.kept.size, 1);
  const isTakenOver = after.chunks.map((chunk, at) => chunk === before.chunks[at]);
  assert.deepEqual(isTakenOver, [true, false, true, true]);
});

test('chunks of the pack before are taken over where they are wanted sooner or later now', async () => {
  const windows = places(4);
  const before = await writeStartPack(windows, undefined, new MemorySource().but(smallChunks));
  const idle = new MemorySource();
  const reversed = windows.map((window) => ({ ...window, atUs: 1000 - window.atUs }));
  const after = await writeStartPack(reversed, before, idle.but(smallChunks));
  assert.deepEqual(after.chunks, before.chunks.toReversed());
  assert.deepEqual([idle.readRuns, idle.kept.size], [[], 0]);
});

test('chunks of the pack before that are not wanted any more are not in the next', async () => {
  const source = new MemorySource().but(smallChunks);
  const before = await writeStartPack(places(3), undefined, source);
  const after = await writeStartPack(places(1), before, source);
  assert.equal(before.chunks.length, 3);
  assert.deepEqual(after.chunks, before.chunks.slice(0, 1));
});

test('a pack of the same blocks, written anew, is the same, byte for byte', async () => {
  const [one, other] = [new MemorySource(), new MemorySource()];
  const packs = [one, other].map(async (source) =>
    writeStartPack(windowsOf(blocksFrom(1, 500)), undefined, source),
  );
  const [first, second] = await Promise.all(packs);
  assert.deepEqual(first, second);
  assert.ok((first?.chunks.length ?? 0) >= 4);
  assert.deepEqual(new Set(one.kept.keys()), new Set(other.kept.keys()));
});

test('what reading, keeping or reading back throws comes out, if every chunk throws too', async () => {
  const failing = async (): Promise<never> => {
    await setImmediate();
    throw new Error('The store is away');
  };
  for (const broken of ['read', 'keep', 'readBack'] as const) {
    const source = new MemorySource().but({ ...smallChunks, [broken]: failing });
    const writing = writeStartPack(places(6), undefined, source);
    await assert.rejects(writing, { message: 'The store is away' });
  }
});

test('after a failure nothing is begun, and it comes out once nothing is under way', async () => {
  const memory = new MemorySource();
  let [begun, ended] = [0, 0];
  const keep = async (): Promise<void> => {
    begun += 1;
    if (begun === 1) throw new Error('The store is full');
    await setImmediate();
    ended += 1;
  };
  const writing = writeStartPack(places(6), undefined, memory.but({ ...smallChunks, keep }));
  await assert.rejects(writing, { message: 'The store is full' });
  assert.deepEqual([begun, ended, memory.readRuns.length], [2, 1, 2]);
});

test('a read that gives fewer bytes than asked for, or more, makes no chunk', async () => {
  const memory = new MemorySource();
  for (const extraBytes of [-pageSizeBytes, pageSizeBytes]) {
    const read = async (offset: number, sizeBytes: number): Promise<Uint8Array> =>
      memory.read(offset, sizeBytes + extraBytes);
    const writing = writeStartPack(places(1), undefined, memory.but({ read }));
    await assert.rejects(writing, { code: 'ERR_INTERNAL', message: /Block 9000/ });
  }
  assert.equal(memory.kept.size, 0);
});
