import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { ChunkWorkerLostError, sealChunk } from '../../chunk/index.ts';
import { chunkObjectName, type ObjectStore } from '../../store/index.ts';
import { errorCode, toHex } from '../../base/index.ts';
import { VirtualTime } from '../../base/testing/virtual-time.ts';
import type { CacheTier } from '../cache-tier.ts';
import type { ChunkRef } from './chunk-loader.ts';
import type { TierReadStatus } from './tier-tally.ts';
import { createTieredLoader, type TieredLoader } from './tiered-loader.ts';

const salt = Buffer.alloc(32, 1);
const rootId = 'root';

interface Sealed {
  readonly ref: ChunkRef;
  readonly name: string;
  readonly plaintext: Buffer;
  readonly ciphertext: Uint8Array;
}

function seal(seed: number): Sealed {
  const plaintext = Buffer.alloc(8192, seed + 1);
  const sealed = sealChunk(plaintext, salt);
  assert.ok(sealed !== undefined);
  const { ciphertext, ciphertextDigest } = sealed;
  const ref: ChunkRef = { ...sealed, rootId, lengthMaxBytes: plaintext.byteLength };
  return { ref, name: chunkObjectName(rootId, toHex(ciphertextDigest)), plaintext, ciphertext };
}

/** A store that only reads, by the given function, and counts. */
function storeOf(get: ObjectStore['get']): { store: ObjectStore; gets: string[] } {
  const gets: string[] = [];
  const counted: Pick<ObjectStore, 'get'> = {
    get: async (name, options) => {
      gets.push(name);
      const bytes = await get(name, options);
      return bytes === undefined ? undefined : new Uint8Array(bytes); // the caller's
    },
  };
  return { store: counted as ObjectStore, gets };
}

function originOf(loader: TieredLoader): TierReadStatus {
  const origin = loader.status().tiers.at(-1);
  assert.ok(origin?.tier === 'origin');
  return origin;
}

test("load gives the plaintext of what the origin has under the chunk's name", async () => {
  const { ref, plaintext, ciphertext, name } = seal(1);
  const { store } = storeOf(async (asked) => (asked === name ? ciphertext : undefined));
  const loader = createTieredLoader({ store });
  const loaded = await loader.load(ref, { deadlineMs: 60_000 });
  assert.equal(loaded.tier, 'origin');
  assert.equal(plaintext.compare(loaded.plaintext), 0);
  assert.equal(originOf(loader).bytes, ciphertext.byteLength);
});

test('load refuses any change of the ciphertext, and says so in its counters', async () => {
  const { ref, ciphertext } = seal(2);
  const changes = fc.oneof(
    fc.nat(ciphertext.byteLength * 8 - 1).map((bit) => {
      const changed = Buffer.from(ciphertext);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      return changed;
    }),
    fc.nat(ciphertext.byteLength - 1).map((length) => ciphertext.subarray(0, length)),
    fc.uint8Array({ minLength: 1 }).map((more) => Buffer.concat([ciphertext, more])),
  );
  await fc.assert(
    fc.asyncProperty(changes, async (changed) => {
      const loader = createTieredLoader({ store: storeOf(async () => changed).store });
      await assert.rejects(loader.load(ref, { deadlineMs: 60_000 }), {
        code: 'ERR_CACHE_CHUNK_CORRUPT',
      });
      assert.equal(originOf(loader).outcomes.corrupt, 1);
    }),
  );
});

test('load reports what the origin lacks, and passes its failures on', async () => {
  const { ref } = seal(3);
  const lacking = createTieredLoader({ store: storeOf(async () => undefined).store });
  await assert.rejects(lacking.load(ref, { deadlineMs: 60_000 }), {
    code: 'ERR_CACHE_CHUNK_MISSING',
  });
  const failing = createTieredLoader({
    store: storeOf(async () => Promise.reject(new Error('disk on fire'))).store,
  });
  await assert.rejects(failing.load(ref, { deadlineMs: 60_000 }), /disk on fire/);
  assert.equal(originOf(failing).outcomes.failed, 1);
});

test('loads of one chunk at a time share a fetch, whatever the order in which things happen', async () => {
  const { ref, ciphertext, plaintext } = seal(4);
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.integer({ min: 1, max: 5 }), async (scheduler, count) => {
      const { store, gets } = storeOf(async () => scheduler.schedule(Promise.resolve(ciphertext)));
      const loader = createTieredLoader({ store });
      const loads = Array.from({ length: count }, () => loader.load(ref, { deadlineMs: 60_000 }));
      for (const loaded of await scheduler.waitFor(Promise.all(loads))) {
        assert.equal(plaintext.compare(loaded.plaintext), 0);
      }
      assert.equal(gets.length, 1);
    }),
  );
});

test('the memory of a chunk is given back when all who loaded it are done with it', async () => {
  const { ref, ciphertext, plaintext } = seal(7);
  const { store } = storeOf(async () => ciphertext);
  const loader = createTieredLoader({ store });
  const [one, other] = await Promise.all([
    loader.load(ref, { deadlineMs: 60_000 }),
    loader.load(ref, { deadlineMs: 60_000, priority: 'prefetch' }),
  ]);
  one.done();
  one.done(); // counts once
  assert.equal(plaintext.compare(other.plaintext), 0);
  other.done();
  assert.equal(other.plaintext.byteLength, 0);
});

test('the memory of a ciphertext is given back at once, also when tiers are offered it', async () => {
  const { ref, ciphertext } = seal(8);
  const given = Uint8Array.from(ciphertext);
  const offered: Uint8Array[] = [];
  const cache: CacheTier = {
    get: async () => undefined,
    offer: (_, bytes) => void offered.push(Uint8Array.from(bytes)),
    forget: async () => {},
    hedgeAfterMs: () => Infinity,
  };
  const tiers = [
    { tier: 'l1-disk', cache },
    { tier: 'l2', cache },
  ] as const;
  const loader = createTieredLoader({ store: { get: async () => given }, tiers });
  await loader.load(ref, { deadlineMs: 60_000 });
  assert.equal(given.byteLength, 0);
  assert.deepEqual(offered, [Uint8Array.from(ciphertext), Uint8Array.from(ciphertext)]);
});

test('a manifest that lists a chunk with another key does not share its fetch or its bytes', async () => {
  const { ref, ciphertext, plaintext } = seal(5);
  const { store, gets } = storeOf(async () => ciphertext);
  const loader = createTieredLoader({ store });
  const thief = { ...ref, key: Buffer.alloc(32, 9) };
  const [mine, stolen] = await Promise.all([
    loader.load(ref, { deadlineMs: 60_000 }),
    loader.load(thief, { deadlineMs: 60_000 }),
  ]);
  assert.equal(gets.length, 2);
  assert.equal(plaintext.compare(mine.plaintext), 0);
  assert.notEqual(plaintext.compare(stolen.plaintext), 0);
});

test('a manifest that lists a chunk with another codec, length or limit shares neither bytes nor failure', async () => {
  const { ref, ciphertext, plaintext } = seal(6);
  const { store, gets } = storeOf(async () => ciphertext);
  const loader = createTieredLoader({ store });
  const others: ChunkRef[] = [
    { ...ref, codec: 'zstd-v1' },
    { ...ref, storedLengthBytes: ref.storedLengthBytes + 4096 },
    { ...ref, codec: 'zstd-v1', lengthMaxBytes: 4096 },
  ];
  const loads = [...others, ref].map((each) => loader.load(each, { deadlineMs: 60_000 }));
  const [mine, ...theirs] = (await Promise.allSettled(loads)).toReversed();
  assert.equal(gets.length, 4);
  assert.ok(mine?.status === 'fulfilled');
  assert.equal(plaintext.compare(mine.value.plaintext), 0);
  for (const outcome of theirs) {
    assert.ok(outcome.status === 'rejected');
    assert.equal(errorCode(outcome.reason), 'ERR_CACHE_CHUNK_UNREADABLE');
  }
});

test('a thread that is lost on the way is no corrupt chunk', async () => {
  const { ref, ciphertext } = seal(7);
  const lost = new ChunkWorkerLostError('ended with status 3');
  const opener = { open: async () => Promise.reject(lost) };
  const loader = createTieredLoader({ store: storeOf(async () => ciphertext).store, opener });
  await assert.rejects(loader.load(ref, { deadlineMs: 60_000 }), { code: 'ERR_CHUNK_WORKER_LOST' });
  const { corrupt, failed } = originOf(loader).outcomes;
  assert.deepEqual({ corrupt, failed }, { corrupt: 0, failed: 1 });
});

test('a store that never answers costs its readers their deadline, and nobody after them', async () => {
  let isStalled = true;
  const sealed = [1, 2, 3, 4].map(seal);
  const signals: (AbortSignal | undefined)[] = [];
  const { store } = storeOf(async (name, options) => {
    signals.push(options?.signal);
    if (isStalled) return new Promise(() => {}); // not even when it is aborted
    return sealed.find((each) => each.name === name)?.ciphertext;
  });
  const time = new VirtualTime();
  const loader = createTieredLoader({ store, originConcurrency: 2, time });
  const stalled = sealed.map(async ({ ref }) =>
    loader.load(ref, { deadlineMs: 30 }).catch((thrown: { code: string }) => thrown.code),
  );
  await time.pass(29);
  assert.equal(signals.length, 2, 'no more than two at a time');
  assert.deepEqual(await time.until(Promise.all(stalled)), Array(4).fill('ERR_CACHE_DEADLINE'));
  assert.ok(signals.every((signal) => signal?.aborted));
  isStalled = false;
  for (const { ref, plaintext } of sealed) {
    const loaded = await loader.load(ref, { deadlineMs: 60_000 });
    assert.equal(plaintext.compare(loaded.plaintext), 0);
  }
});
