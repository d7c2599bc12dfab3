/**
 * What every `ChunkLoader` must do, whatever tiers are behind it. Run it over each way of putting them together. It puts copies, right
 * and wrong ones, where a loader finds them, and looks what becomes of them.
 */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { suite, test } from 'node:test';

import { present, toHex } from '../../base/index.ts';
import { sealChunk, type ChunkCodec } from '../../chunk/index.ts';
import { chunkObjectName, type ObjectStore } from '../../store/index.ts';
import type { ChunkName } from '../cache-tier.ts';
import type {
  ChunkLoader,
  ChunkRef,
  LoadedChunk,
  LoadOptions,
  Tier,
} from '../search/chunk-loader.ts';

/** Where a loader looks for copies, from behind. */
export interface PlaceOfCopies {
  readonly tier: Tier;
  /** `bytes` may be wrong: then so is the copy. */
  put(name: ChunkName, bytes: Uint8Array): Promise<void>;
  get(name: ChunkName): Promise<Uint8Array | undefined>;
}

export interface LoaderUnderTest extends AsyncDisposable {
  readonly loader: ChunkLoader;
  /** Nearest first; the last is the origin, which is asked through `origin`. */
  readonly places: readonly PlaceOfCopies[];
  readonly origin: WatchedOrigin;
  /** Waits until all that the loader offered to its tiers is there. */
  settled(): Promise<void>;
  /** For loaders in virtual time: lets it pass until `work` is done. Default: time passes by itself. */
  until?<T>(work: Promise<T>): Promise<T>;
}

export interface ChunkLoaderConformance {
  /** Of the suite in the report. */
  readonly name: string;
  /** A reason that starts with `needs `, or false. */
  readonly skip?: string | false;
  /** A loader over places that are empty, disposed of with its resources after the test. */
  readonly create: () => Promise<LoaderUnderTest>;
}

/** A store that tells what it was asked for, and holds its answers back when it is told. */
export class WatchedOrigin implements Pick<ObjectStore, 'get'> {
  /** Names, in order. */
  readonly gets: string[] = [];
  readonly #store: Pick<ObjectStore, 'get'>;
  readonly #expected = new Map<string, () => void>();
  #held: PromiseWithResolvers<void> | undefined;

  constructor(store: Pick<ObjectStore, 'get'>) {
    this.#store = store;
  }

  async get(...[name, options]: Parameters<ObjectStore['get']>): ReturnType<ObjectStore['get']> {
    this.gets.push(name);
    this.#expected.get(name)?.();
    await this.#held?.promise;
    return await this.#store.get(name, options);
  }

  /** From now on it does not answer. */
  hold(): void {
    this.#held = Promise.withResolvers();
  }

  letGo(): void {
    this.#held?.resolve();
    this.#held = undefined;
  }

  /** Resolves when the chunk is asked for. */
  async asked({ ref }: SealedSample): Promise<void> {
    const name = objectNameOf(ref);
    if (this.gets.includes(name)) return;
    await new Promise<void>((resolve) => this.#expected.set(name, resolve));
  }
}

/** The origin as a place: a store, which the loader is given as a `WatchedOrigin`. */
export function originPlace(store: ObjectStore): PlaceOfCopies {
  return {
    tier: 'origin',
    put: async (name, bytes) => void (await store.putIfAbsent(objectNameOf(name), bytes)),
    get: async (name) => store.get(objectNameOf(name)),
  };
}

function objectNameOf({ rootId, ciphertextDigest }: ChunkName): string {
  return chunkObjectName(rootId, toHex(ciphertextDigest));
}

interface SealedSample {
  readonly ref: ChunkRef;
  readonly plaintext: Buffer;
  readonly ciphertext: Uint8Array;
}

const salt = Buffer.alloc(32, 1);

/** Different ones each time. Half of it is zeros, so that it can be compressed. */
function sample(lengthBytes = 16 * 4096, codec: ChunkCodec = 'none'): SealedSample {
  const plaintext = Buffer.alloc(lengthBytes);
  plaintext.set(randomBytes(lengthBytes / 2));
  plaintext[lengthBytes - 1] = 1;
  const sealed = present(sealChunk(plaintext, salt, codec), 'a chunk');
  assert.equal(sealed.codec, codec);
  const { ciphertext, ...ref } = sealed;
  return { ref: { ...ref, rootId: 'root', lengthMaxBytes: lengthBytes }, plaintext, ciphertext };
}

/** The shortest, one in between, the longest; and a compressed one. */
function samples(): readonly SealedSample[] {
  const plain = [4096, 5 * 4096, 128 * 4096].map((lengthBytes) => sample(lengthBytes));
  return [...plain, sample(64 * 4096, 'zstd-v1')];
}

function spoilt(bytes: Uint8Array): Uint8Array {
  return bytes.map((byte, index) => (index === 1000 ? byte ^ 1 : byte));
}

class Driver implements AsyncDisposable {
  readonly made: LoaderUnderTest;

  constructor(made: LoaderUnderTest) {
    this.made = made;
  }

  get origin(): PlaceOfCopies {
    return present(this.made.places.at(-1), 'the origin');
  }

  get caches(): readonly PlaceOfCopies[] {
    return this.made.places.slice(0, -1);
  }

  until<T>(work: Promise<T>): Promise<T> {
    return this.made.until?.(work) ?? work;
  }

  /** Does not move time: see `until`. */
  start(
    { ref }: Pick<SealedSample, 'ref'>,
    options: Partial<LoadOptions> = {},
  ): Promise<LoadedChunk> {
    return this.made.loader.load(ref, { deadlineMs: 60_000, ...options });
  }

  /** Loads the chunk, whose bytes must be right, and says where it was. */
  async load(chunk: SealedSample): Promise<Tier> {
    const { plaintext, tier } = await this.until(this.start(chunk));
    assertPlain(plaintext, chunk);
    return tier;
  }

  async put(place: PlaceOfCopies, chunk: SealedSample, bytes = chunk.ciphertext): Promise<void> {
    await this.until(place.put(chunk.ref, new Uint8Array(bytes)));
  }

  /** The places that have a right copy; a wrong one fails the test. */
  async whereRight({ ref, ciphertext }: SealedSample): Promise<readonly Tier[]> {
    await this.until(this.made.settled());
    const found: Tier[] = [];
    for (const place of this.made.places) {
      const copy = await this.until(place.get(ref));
      if (copy === undefined) continue;
      assert.equal(Buffer.compare(copy, ciphertext), 0, place.tier);
      found.push(place.tier);
    }
    return found;
  }

  get tiers(): readonly Tier[] {
    return this.made.places.map(({ tier }) => tier);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.made.origin.letGo();
    await this.until(Promise.resolve(this.made[Symbol.asyncDispose]()));
  }
}

function assertPlain(found: Uint8Array, { plaintext }: SealedSample): void {
  assert.equal(plaintext.subarray(0, found.byteLength).compare(found), 0);
  assert.ok(plaintext.subarray(found.byteLength).every((byte) => byte === 0));
}

function testCopies({ create }: ChunkLoaderConformance): void {
  test('a chunk comes from where it is, and is then in all tiers before that', async () => {
    await using driver = new Driver(await create());
    for (const [index, place] of driver.made.places.entries()) {
      for (const chunk of samples()) {
        await driver.put(place, chunk);
        assert.equal(await driver.load(chunk), place.tier);
        assert.deepEqual(await driver.whereRight(chunk), driver.tiers.slice(0, index + 1));
        assert.equal(await driver.load(chunk), driver.tiers[0]);
      }
    }
  });

  test('a corrupt copy is dropped and replaced, in whichever tiers it is', async () => {
    await using driver = new Driver(await create());
    for (const damaged of [...driver.caches.map((place) => [place]), driver.caches]) {
      for (const chunk of samples()) {
        await driver.put(driver.origin, chunk);
        for (const place of damaged) await driver.put(place, chunk, spoilt(chunk.ciphertext));
        await driver.load(chunk);
        assert.deepEqual(await driver.whereRight(chunk), driver.tiers);
      }
    }
  });

  test("where the origin's copy is corrupt there is an error, and no copy of it", async () => {
    await using driver = new Driver(await create());
    const chunk = sample();
    const bytes = spoilt(chunk.ciphertext);
    await driver.put(driver.origin, chunk, bytes);
    const code = 'ERR_CACHE_CHUNK_CORRUPT';
    await assert.rejects(driver.until(driver.start(chunk)), { code });
    await driver.until(driver.made.settled());
    for (const place of driver.caches) {
      assert.equal(await driver.until(place.get(chunk.ref)), undefined, place.tier);
    }
  });

  test('a chunk that is nowhere is missing, and found when it is there', async () => {
    await using driver = new Driver(await create());
    const chunk = sample();
    const code = 'ERR_CACHE_CHUNK_MISSING';
    await assert.rejects(driver.until(driver.start(chunk)), { code });
    await driver.put(driver.origin, chunk);
    assert.equal(await driver.load(chunk), 'origin');
  });

  test('who lists a chunk wrongly gets none of its bytes, and spoils no copy of it', async () => {
    await using driver = new Driver(await create());
    const chunk = sample();
    for (const place of driver.made.places) await driver.put(place, chunk);
    const { storedLengthBytes } = chunk.ref;
    const stolen = await driver.until(
      driver.start({ ref: { ...chunk.ref, key: randomBytes(32) } }),
    );
    assert.notEqual(chunk.plaintext.compare(stolen.plaintext), 0);
    const wrong: readonly Partial<ChunkRef>[] = [
      { codec: 'zstd-v1' },
      { storedLengthBytes: storedLengthBytes + 4096 },
      { storedLengthBytes: storedLengthBytes - 4096 },
    ];
    for (const listed of wrong) {
      const loading = driver.until(driver.start({ ref: { ...chunk.ref, ...listed } }));
      await assert.rejects(loading, { code: 'ERR_CACHE_CHUNK_UNREADABLE' });
    }
    assert.deepEqual(await driver.whereRight(chunk), driver.tiers);
    assert.equal(await driver.load(chunk), driver.tiers[0]);
  });
}

function testWaiting({ create }: ChunkLoaderConformance): void {
  test('loads of one chunk at a time share one search, whatever their priority', async () => {
    await using driver = new Driver(await create());
    const chunk = sample();
    await driver.put(driver.origin, chunk);
    const priorities = ['prefetch', 'foreground', 'prefetch', 'foreground'] as const;
    const loads = priorities.map((priority) => driver.start(chunk, { priority }));
    for (const { plaintext, tier } of await driver.until(Promise.all(loads))) {
      assertPlain(plaintext, chunk);
      assert.equal(tier, 'origin');
    }
    assert.equal(driver.made.origin.gets.length, 1);
  });

  test('a load ends at its deadline, and others of its chunk go on', async () => {
    await using driver = new Driver(await create());
    const chunk = sample();
    await driver.put(driver.origin, chunk);
    driver.made.origin.hold();
    const patient = driver.start(chunk);
    const code = 'ERR_CACHE_DEADLINE';
    await assert.rejects(driver.until(driver.start(chunk, { deadlineMs: 20 })), { code });
    driver.made.origin.letGo();
    assertPlain((await driver.until(patient)).plaintext, chunk);
    assert.equal(driver.made.origin.gets.length, 1);
  });

  test('what somebody waits for goes before prefetch, also what was prefetch before', async () => {
    await using driver = new Driver(await create());
    const { origin } = driver.made;
    const ahead = Array.from({ length: 20 }, () => sample(4096));
    const wanted = sample(4096);
    for (const chunk of [...ahead, wanted]) await driver.put(driver.origin, chunk);
    origin.hold();
    const loads = ahead.map((chunk) => driver.start(chunk, { priority: 'prefetch' }));
    await driver.until(origin.asked(present(ahead[0], 'a chunk')));
    loads.push(driver.start(wanted));
    await driver.until(origin.asked(wanted));
    const last = present(ahead.at(-1), 'a chunk');
    assert.ok(!origin.gets.includes(objectNameOf(last.ref)), 'it has to wait');
    loads.push(driver.start(last));
    await driver.until(origin.asked(last));
    origin.letGo();
    const loaded = await driver.until(Promise.all(loads));
    for (const [index, chunk] of [...ahead, wanted, last].entries()) {
      assertPlain(present(loaded[index], 'a load').plaintext, chunk);
    }
    assert.equal(origin.gets.length, ahead.length + 1);
  });
}

export function chunkLoaderConformance(conformance: ChunkLoaderConformance): void {
  suite(`chunk loader: ${conformance.name}`, { skip: conformance.skip ?? false }, () => {
    testCopies(conformance);
    testWaiting(conformance);
  });
}
