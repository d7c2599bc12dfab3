import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';

import fc from 'fast-check';

import { toHex } from '../../base/index.ts';
import { openChunk } from '../../chunk/index.ts';
import { pageSizeBytes, type CachedWindow } from './file-windows.ts';
import { writeStartPack, type PackSource } from './pack-writer.ts';
import {
  blockCountOf,
  planPack,
  type PackRun,
  type PackedChunk,
  type StartPack,
} from './start-pack.ts';

const stretchBlocks = 2048;

/** A block of a disk on which every third one is zeros, and all of them from 1000 to the end of the first 8 MiB. */
function blockAt(block: number): Uint8Array {
  if (block % 3 === 0 || (block >= 1000 && block < stretchBlocks))
    return Buffer.alloc(pageSizeBytes);
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

/** Of one page each. */
function windowsOf(blocks: Iterable<number>): readonly CachedWindow[] {
  return [...blocks].map((diskBlock, window) => ({ inode: 12, window, pages: 1, diskBlock }));
}

/** `count` blocks that lie one after the other. */
function blocksFrom(diskBlock: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, at) => diskBlock + at);
}

/** A chunk in each of the stretches from the fourth on. */
function stretches(count: number): readonly number[] {
  return blocksFrom(3, count).flatMap((stretch) => blocksFrom(stretch * stretchBlocks, 40));
}

test('every chunk of the plan that is not all zeros opens to the bytes of the disk', async () => {
  const block = fc.oneof(fc.nat(200), fc.integer({ min: 990, max: 1200 }), fc.nat(9000));
  const blockLists = fc.array(block, { maxLength: 300, size: 'max' });
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
  const codecOf = async (windows: readonly CachedWindow[], codec: PackSource['codec']) => {
    const { chunks } = await writeStartPack(windows, undefined, new MemorySource(codec));
    return chunks.map((chunk) => chunk.codec);
  };
  assert.deepEqual(await codecOf(text, 'zstd-v1'), ['zstd-v1']);
  assert.deepEqual(await codecOf(text, 'none'), ['none']);
  assert.deepEqual(await codecOf(noise, 'zstd-v1'), ['none']);
});

test('no chunk is longer than those of the disk, nor than 512 KiB', async () => {
  const lengths = async (chunkSizeBytes: number): Promise<readonly number[]> => {
    const source = new MemorySource().but({ chunkSizeBytes });
    const { chunks } = await writeStartPack(windowsOf(blocksFrom(0, 160)), undefined, source);
    return chunks.map(({ runs }) => blockCountOf(runs));
  };
  assert.deepEqual(await lengths(2 ** 22), [128, 32]);
  assert.deepEqual(await lengths(2 ** 18), [64, 64, 32]);
  assert.deepEqual(await lengths(2 ** 16), Array(10).fill(16));
});

test('zeros at the end of a chunk are not stored', async () => {
  const source = new MemorySource('none');
  const pack = await writeStartPack(windowsOf(blocksFrom(990, 20)), undefined, source);
  assert.equal(pack.chunks[0]?.storedLengthBytes, 9 * pageSizeBytes);
  assert.ok(blocksAt(990, 20).equals(source.opened(pack)[0] ?? Buffer.alloc(0)));
});

test('chunks that are all zeros are left out, and those after them are not', async () => {
  const source = new MemorySource();
  const blocks = [...blocksFrom(1000, 40), ...stretches(1)];
  const { chunks } = await writeStartPack(windowsOf(blocks), undefined, source);
  assert.deepEqual(
    chunks.map(({ runs }) => runs),
    [[{ diskBlock: 6144, blockCount: 40 }]],
  );
  assert.equal(source.kept.size, 1);
  const none = await writeStartPack(windowsOf(blocksFrom(1000, 40)), undefined, source);
  assert.deepEqual(none, { chunks: [] });
});

test('chunks of the pack before whose runs are the same are taken over unread', async () => {
  const blocks = stretches(4);
  const before = await writeStartPack(windowsOf(blocks), undefined, new MemorySource());
  const idle = new MemorySource();
  assert.deepEqual(await writeStartPack(windowsOf(blocks), before, idle), before);
  assert.deepEqual([idle.readRuns, idle.kept.size], [[], 0]);

  const source = new MemorySource();
  const diskBlock = 4 * stretchBlocks;
  const after = await writeStartPack(windowsOf([...blocks, diskBlock + 40]), before, source);
  assert.deepEqual(source.readRuns, [{ diskBlock, blockCount: 41 }]);
  assert.equal(source.kept.size, 1);
  const isTakenOver = after.chunks.map((chunk, at) => chunk === before.chunks[at]);
  assert.deepEqual(isTakenOver, [true, false, true, true]);
});

test('chunks of the pack before that are not wanted any more are not in the next', async () => {
  const before = await writeStartPack(windowsOf(stretches(3)), undefined, new MemorySource());
  const after = await writeStartPack(windowsOf(stretches(1)), before, new MemorySource());
  assert.deepEqual(after.chunks, before.chunks.slice(0, 1));
});

test('a pack of the same blocks, written anew, is the same, byte for byte', async () => {
  const [one, other] = [new MemorySource(), new MemorySource()];
  const packs = [one, other].map(async (source) =>
    writeStartPack(windowsOf(stretches(4)), undefined, source),
  );
  const [first, second] = await Promise.all(packs);
  assert.deepEqual(first, second);
  assert.deepEqual(new Set(one.kept.keys()), new Set(other.kept.keys()));
});

test('what reading, keeping or reading back throws comes out, if every chunk throws too', async () => {
  const failing = async (): Promise<never> => {
    await setImmediate();
    throw new Error('The store is away');
  };
  for (const broken of ['read', 'keep', 'readBack'] as const) {
    const source = new MemorySource().but({ [broken]: failing });
    const writing = writeStartPack(windowsOf(stretches(6)), undefined, source);
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
  const writing = writeStartPack(windowsOf(stretches(6)), undefined, memory.but({ keep }));
  await assert.rejects(writing, { message: 'The store is full' });
  assert.deepEqual([begun, ended, memory.readRuns.length], [2, 1, 2]);
});

test('a read that gives fewer bytes than asked for, or more, makes no chunk', async () => {
  const memory = new MemorySource();
  for (const extraBytes of [-pageSizeBytes, pageSizeBytes]) {
    const read = async (offset: number, sizeBytes: number): Promise<Uint8Array> =>
      memory.read(offset, sizeBytes + extraBytes);
    const writing = writeStartPack(windowsOf(stretches(1)), undefined, memory.but({ read }));
    await assert.rejects(writing, { code: 'ERR_INTERNAL', message: /Block 6144/ });
  }
  assert.equal(memory.kept.size, 0);
});
