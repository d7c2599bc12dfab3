/** What every `CacheTier` must do. Run it from the test file of each. */

import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { suite, test } from 'node:test';

import { errorCode, release } from '../../base/index.ts';
import { seededRandom } from '../../store/testing/seeded-random.ts';
import type { CacheTier, ChunkName } from '../cache-tier.ts';

export interface TierUnderTest extends AsyncDisposable {
  readonly tier: CacheTier;
  /** Waits until all that was offered is in the tier or was dropped. */
  settled(): Promise<void>;
  /** Spoils the tier's copy of a chunk, where it is kept. Undefined: this one cannot be spoilt from outside. */
  damage?(chunk: ChunkName): Promise<void>;
  /** Takes from the tier whatever it keeps its copies in. Undefined: it cannot be taken. */
  breakDown?(): Promise<void>;
  /** For tiers in virtual time: lets it pass until `work` is done. Default: time passes by itself. */
  until?<T>(work: Promise<T>): Promise<T>;
}

export interface CacheTierConformance {
  /** Of the suite in the report. */
  readonly name: string;
  /** A reason that starts with `needs `, or false. */
  readonly skip?: string | false;
  /** A new, empty tier with room for 16 MiB, disposed of with its resources after the test. */
  readonly create: () => Promise<TierUnderTest>;
}

export interface NamedChunk {
  readonly name: ChunkName;
  readonly ciphertext: Uint8Array;
}

/** Bytes that look random, the same for the same arguments, and the name under which they are verified. */
export function namedChunk(seed: number, storedLengthBytes: number, rootId = 'r1'): NamedChunk {
  const block = hash('shake256', `${seed}`, { outputEncoding: 'buffer', outputLength: 4096 });
  const ciphertext = Buffer.alloc(storedLengthBytes, block);
  // So that no two blocks of it are equal, and blocks that change places are noticed.
  for (let offset = 0; offset < storedLengthBytes; offset += 1024) {
    ciphertext.writeUInt32LE(offset, offset);
  }
  const ciphertextDigest = hash('sha256', ciphertext, 'buffer');
  return { name: { rootId, ciphertextDigest, storedLengthBytes }, ciphertext };
}

/** One block, some that four does and does not divide, a whole chunk. */
const lengthsBytes = [4096, 5 * 4096, 64 * 4096, 127 * 4096, 128 * 4096];

function foreground(): { signal: AbortSignal; priority: 'foreground' } {
  return { signal: new AbortController().signal, priority: 'foreground' };
}

/** The calls of a tier, each in the tier's own time. */
class Driver implements AsyncDisposable {
  readonly #made: TierUnderTest;

  constructor(made: TierUnderTest) {
    this.#made = made;
  }

  until<T>(work: Promise<T>): Promise<T> {
    return this.#made.until?.(work) ?? work;
  }

  get(name: ChunkName): Promise<Uint8Array | undefined> {
    return this.until(this.#made.tier.get(name, foreground()));
  }

  /** What `get` gives, and undefined also where the tier cannot say; fails on any other error. */
  async find(name: ChunkName): Promise<Uint8Array | undefined> {
    try {
      return await this.get(name);
    } catch (thrown) {
      assert.equal(errorCode(thrown), 'ERR_CACHE_TIER_UNAVAILABLE');
      return undefined;
    }
  }

  async offer(...chunks: readonly NamedChunk[]): Promise<void> {
    for (const { name, ciphertext } of chunks) this.#made.tier.offer(name, ciphertext);
    await this.until(this.#made.settled());
  }

  forget(name: ChunkName): Promise<void> {
    return this.until(this.#made.tier.forget(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.until(Promise.resolve(this.#made[Symbol.asyncDispose]()));
  }
}

function assertSame(found: Uint8Array | undefined, expected: Uint8Array): void {
  assert.ok(found !== undefined);
  assert.equal(found.byteLength, expected.byteLength);
  assert.equal(Buffer.compare(found, expected), 0);
}

function testCopies({ create }: CacheTierConformance): void {
  test('a chunk reads back as it was offered, at every length', async () => {
    const made = await create();
    await using driver = new Driver(made);
    const chunks = lengthsBytes.map((lengthBytes, seed) => namedChunk(seed, lengthBytes));
    await driver.offer(...chunks);
    for (const { name, ciphertext } of chunks) assertSame(await driver.get(name), ciphertext);
  });

  test('who reads a chunk owns the array', async () => {
    const made = await create();
    await using driver = new Driver(made);
    const { name, ciphertext } = namedChunk(1, 4 * 4096);
    const original = Buffer.from(ciphertext);
    await driver.offer({ name, ciphertext });
    const reads = Promise.all([made.tier.get(name, foreground()), driver.get(name)]);
    const [first, second] = await driver.until(reads);
    first?.fill(0);
    assertSame(second, original);
    assertSame(await driver.get(name), original);
  });

  test('who offers a chunk owns the array again at once', async () => {
    const made = await create();
    await using driver = new Driver(made);
    const { name, ciphertext } = namedChunk(8, 128 * 4096);
    const offered = Uint8Array.from(ciphertext);
    made.tier.offer(name, offered);
    offered.fill(0);
    release(offered);
    await driver.offer();
    assertSame(await driver.get(name), ciphertext);
  });

  test('a view into a larger array offers the bytes of the view', async () => {
    const made = await create();
    await using driver = new Driver(made);
    const { name, ciphertext } = namedChunk(2, 8192);
    const larger = Buffer.concat([Buffer.alloc(13, 1), ciphertext, Buffer.alloc(7, 2)]);
    await driver.offer({ name, ciphertext: larger.subarray(13, 13 + 8192) });
    assertSame(await driver.get(name), ciphertext);
  });

  test('a chunk that is not there is undefined, also where one of another length is', async () => {
    const made = await create();
    await using driver = new Driver(made);
    const { name, ciphertext } = namedChunk(3, 2 * 4096);
    assert.equal(await driver.get(name), undefined);
    await driver.offer({ name, ciphertext });
    // Equal digests are equal ciphertexts, so a tier may do without the root.
    const ofOtherRoot = await driver.get({ ...name, rootId: 'r2' });
    if (ofOtherRoot !== undefined) assertSame(ofOtherRoot, ciphertext);
    assert.equal(await driver.get(namedChunk(4, 2 * 4096).name), undefined);
    for (const storedLengthBytes of [4096, 4 * 4096]) {
      assert.equal(await driver.get({ ...name, storedLengthBytes }), undefined);
    }
    assertSame(await driver.get(name), ciphertext);
  });

  test('a chunk offered again, or twice at once, stays what it is', async () => {
    const made = await create();
    await using driver = new Driver(made);
    const chunk = namedChunk(5, 4 * 4096);
    await driver.offer(chunk, chunk);
    await driver.offer(chunk);
    assertSame(await driver.get(chunk.name), chunk.ciphertext);
  });

  test('a forgotten chunk is gone, others stay, and it may be offered again', async () => {
    const made = await create();
    await using driver = new Driver(made);
    const [chunk, other] = [namedChunk(6, 4 * 4096), namedChunk(7, 4 * 4096)];
    await driver.forget(chunk.name);
    await driver.offer(chunk, other);
    await driver.forget(chunk.name);
    assert.equal(await driver.get(chunk.name), undefined);
    assertSame(await driver.get(other.name), other.ciphertext);
    await driver.offer(chunk);
    assertSame(await driver.get(chunk.name), chunk.ciphertext);
  });

  test('the time after which to ask elsewhere is some time, or never', async () => {
    const made = await create();
    await using driver = new Driver(made);
    await driver.offer(namedChunk(8, 4096));
    await driver.get(namedChunk(8, 4096).name);
    assert.ok(made.tier.hedgeAfterMs() > 0);
  });
}

function testRaces({ create }: CacheTierConformance): void {
  test('an aborted signal rejects a read with its reason, before and under way', async () => {
    const made = await create();
    await using driver = new Driver(made);
    const { name, ciphertext } = namedChunk(1, 64 * 4096);
    await driver.offer({ name, ciphertext });
    const reason = new Error('no longer wanted');
    const aborted = { signal: AbortSignal.abort(reason), priority: 'foreground' as const };
    await assert.rejects(driver.until(made.tier.get(name, aborted)), reason);
    const abort = new AbortController();
    const reads = Array.from({ length: 8 }, () =>
      made.tier.get(name, { signal: abort.signal, priority: 'prefetch' }),
    );
    abort.abort(reason);
    for (const outcome of await driver.until(Promise.allSettled(reads))) {
      if (outcome.status === 'fulfilled') assertSame(outcome.value, ciphertext);
      else assert.equal(outcome.reason, reason);
    }
    assertSame(await driver.get(name), ciphertext);
  });

  test('reads, offers and oblivion at the same time give right bytes or none', async () => {
    const made = await create();
    await using driver = new Driver(made);
    const random = seededRandom(1);
    const chunks = Array.from({ length: 6 }, (_, seed) => namedChunk(seed, (seed + 1) * 4096));
    for (let round = 0; round < 10; round += 1) {
      const calls = Array.from({ length: 30 }, async () => {
        const chunk = chunks[Math.floor(random() * chunks.length)] ?? namedChunk(0, 4096);
        const draw = random();
        if (draw < 0.3) made.tier.offer(chunk.name, chunk.ciphertext);
        else if (draw < 0.4) await made.tier.forget(chunk.name);
        else {
          const found = await made.tier.get(chunk.name, foreground());
          if (found !== undefined) assertSame(found, chunk.ciphertext);
        }
      });
      await driver.until(Promise.all(calls));
    }
    // Nothing of that may make it keep less than what is offered now.
    await driver.until(made.settled());
    await driver.offer(...chunks);
    for (const { name, ciphertext } of chunks) assertSame(await driver.get(name), ciphertext);
  });
}

function testFaults({ create }: CacheTierConformance): void {
  test('a spoilt copy makes no error of its own, and after forgetting it a good one is kept', async (t) => {
    const made = await create();
    await using driver = new Driver(made);
    if (made.damage === undefined) return t.skip('needs a tier that can be spoilt from outside');
    const chunk = namedChunk(1, 64 * 4096);
    await driver.offer(chunk);
    await driver.until(made.damage(chunk.name));
    const found = await driver.find(chunk.name);
    if (found !== undefined) assert.equal(found.byteLength, chunk.name.storedLengthBytes);
    await driver.forget(chunk.name);
    assert.equal(await driver.get(chunk.name), undefined);
    await driver.offer(chunk);
    assertSame(await driver.get(chunk.name), chunk.ciphertext);
  });

  test('a tier that broke down says so or knows nothing, and throws nothing else', async (t) => {
    const made = await create();
    await using driver = new Driver(made);
    if (made.breakDown === undefined) return t.skip('needs a tier that can break down');
    const [chunk, other] = [namedChunk(1, 16 * 4096), namedChunk(2, 16 * 4096)];
    await driver.offer(chunk);
    await driver.until(made.breakDown());
    for (const { name, ciphertext } of [chunk, other]) {
      const found = await driver.find(name);
      if (found !== undefined) assertSame(found, ciphertext);
    }
    await driver.offer(other);
    await driver.forget(chunk.name);
    await driver.find(other.name);
  });
}

export function cacheTierConformance(conformance: CacheTierConformance): void {
  suite(`cache tier: ${conformance.name}`, { skip: conformance.skip ?? false }, () => {
    testCopies(conformance);
    testRaces(conformance);
    testFaults(conformance);
  });
}
