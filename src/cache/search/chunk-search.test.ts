import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { errorCode, toHex } from '../../base/index.ts';
import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { openChunk, sealChunk, type ChunkCodec, type SealedChunkRef } from '../../chunk/index.ts';
import type { ChunkRef } from './chunk-loader.ts';
import {
  ScriptedOrigin,
  ScriptedTier,
  scriptedAnswers,
  type ScriptedAnswer,
  type TierScript,
} from '../testing/scripted-tier.ts';
import { createTieredLoader, type TieredLoader } from './tiered-loader.ts';

const salt = Buffer.alloc(32, 1);
const deadlineMs = 10_000;
const patienceMs = 1000;

interface Sample {
  readonly ref: ChunkRef;
  readonly plaintext: Buffer;
  readonly ciphertext: Uint8Array;
}

function sample(seed: number, codec: ChunkCodec = 'none'): Sample {
  const plaintext = Buffer.alloc(65_536, `chunk ${seed} `);
  const sealed = sealChunk(plaintext, salt, codec);
  assert.ok(sealed?.codec === codec);
  const ref = { ...sealed, rootId: 'root', lengthMaxBytes: plaintext.byteLength };
  return { ref, plaintext, ciphertext: sealed.ciphertext };
}

/** Disk, zone and origin by script. */
class Stack {
  readonly time = new VirtualTime();
  readonly disk: ScriptedTier;
  readonly zone: ScriptedTier;
  readonly origin: ScriptedTier;
  readonly loader: TieredLoader;
  readonly logged: string[] = [];
  /** Times that bytes were verified and opened. */
  opened = 0;

  constructor(
    { ciphertext }: Sample,
    scripts: Readonly<Record<'disk' | 'zone' | 'origin', TierScript>>,
  ) {
    this.disk = new ScriptedTier(this.time, ciphertext, scripts.disk);
    this.zone = new ScriptedTier(this.time, ciphertext, scripts.zone);
    this.origin = new ScriptedTier(this.time, ciphertext, scripts.origin);
    const warn = (message: string): void => void this.logged.push(message);
    this.loader = createTieredLoader({
      tiers: [
        { tier: 'l1-disk', cache: this.disk },
        { tier: 'l2', cache: this.zone },
      ],
      store: new ScriptedOrigin(this.origin),
      opener: {
        open: async (ref, bytes) => {
          this.opened += 1;
          return openAndUseUp(ref, bytes);
        },
      },
      tierPatienceMs: patienceMs,
      time: this.time,
      log: { debug: warn, info: warn, warn, error: warn },
    });
  }

  get tiers(): readonly ScriptedTier[] {
    return [this.disk, this.zone, this.origin];
  }
}

/** As the pool does with what it opens on a thread: the array is gone afterwards. */
async function openAndUseUp(ref: SealedChunkRef, bytes: Uint8Array): Promise<Uint8Array> {
  const plaintext = openChunk(ref, bytes);
  if (ref.codec !== 'none')
    structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
  return plaintext;
}

const quick: Omit<TierScript, 'answer'> = { afterMs: 1 };
const hit: TierScript = { answer: 'hit', ...quick };
const miss: TierScript = { answer: 'miss', ...quick };

const scripts = fc.record(
  {
    answer: fc.constantFrom<ScriptedAnswer>(...scriptedAnswers),
    afterMs: fc.integer({ min: 0, max: patienceMs - 1 }),
    hedgeAfterMs: fc.constantFrom(Infinity, 0, 5, 200, 700),
  },
  { noNullPrototype: true },
);
const scriptsOfAll = fc.record(
  { disk: scripts, zone: scripts, origin: scripts },
  { noNullPrototype: true },
);

/** What the origin's answer makes of a read that no cache could answer. */
const errorsByOriginAnswer: Readonly<Record<Exclude<ScriptedAnswer, 'hit'>, string | undefined>> = {
  miss: 'ERR_CACHE_CHUNK_MISSING',
  flipped: 'ERR_CACHE_CHUNK_CORRUPT',
  short: 'ERR_CACHE_CHUNK_CORRUPT',
  unavailable: 'ERR_STORE_UNAVAILABLE',
  throws: undefined, // passed on, and it has no code
  never: 'ERR_CACHE_DEADLINE',
  deaf: 'ERR_CACHE_DEADLINE',
};

test('whatever the tiers do, a read gives the right bytes if one has them, else the right error, in time', async () => {
  const samples = { none: sample(1), 'zstd-v1': sample(1, 'zstd-v1') };
  const codecs = fc.constantFrom<ChunkCodec>('none', 'zstd-v1');
  await fc.assert(
    fc.asyncProperty(scriptsOfAll, codecs, async (all, codec) => {
      const chunk = samples[codec];
      const stack = new Stack(chunk, all);
      const { time, loader } = stack;
      const load = loader.load(chunk.ref, { deadlineMs });
      const outcome = await time.until(
        load.then(
          ({ plaintext, tier }) => ({ plaintext, tier }),
          (thrown: unknown) => ({ thrown }),
        ),
      );
      assert.ok(time.monotonicMs() <= deadlineMs);
      const answers = [all.disk.answer, all.zone.answer, all.origin.answer];
      if ('plaintext' in outcome) {
        assert.equal(chunk.plaintext.compare(outcome.plaintext), 0);
        const index = ['l1-disk', 'l2', 'origin'].indexOf(outcome.tier);
        assert.equal(answers[index], 'hit');
      } else {
        assert.ok(!answers.includes('hit'), String(outcome.thrown));
        const { answer } = all.origin;
        assert.ok(answer !== 'hit');
        assert.equal(errorCode(outcome.thrown), errorsByOriginAnswer[answer]);
      }
      await time.pass(0);
      checkAftermath(stack, chunk);
    }),
    { numRuns: 300 },
  );
});

/** What must hold once a read is over. */
function checkAftermath(stack: Stack, { ciphertext }: Sample): void {
  const status = stack.loader.status();
  assert.equal(stack.time.waitingCount, 0);
  assert.equal(status.searches, 0);
  for (const [index, tier] of stack.tiers.entries()) {
    const { inFlight, outcomes } = status.tiers[index] ?? assert.fail('No status of a tier');
    assert.equal(inFlight, 0);
    assert.ok(tier.gets.length <= 1);
    const ended = Object.values(outcomes).reduce((sum, count) => sum + count, 0);
    assert.equal(ended, tier.gets.length);
    const isOrigin = tier === stack.origin;
    assert.equal(tier.forgets, isOrigin ? 0 : outcomes.corrupt);
    assert.ok(tier.offers.length <= outcomes.miss + outcomes.corrupt + outcomes.unavailable);
    for (const offered of tier.offers) assert.ok(Buffer.from(ciphertext).equals(offered));
    if (outcomes.failed + outcomes.corrupt > 0) assert.ok(stack.logged.length > 0);
  }
}

test('what lacks a chunk is offered it, also where opening uses the ciphertext up', async () => {
  for (const chunk of [sample(2), sample(2, 'zstd-v1')]) {
    const unavailable: TierScript = { answer: 'unavailable', ...quick };
    const stack = new Stack(chunk, { disk: unavailable, zone: miss, origin: hit });
    await stack.time.until(stack.loader.load(chunk.ref, { deadlineMs }));
    assert.deepEqual(
      stack.tiers.map(({ offers }) => offers.length),
      [1, 1, 0],
    );
    for (const { offers } of [stack.disk, stack.zone]) {
      assert.ok(offers[0] !== undefined && Buffer.from(chunk.ciphertext).equals(offers[0]));
    }
    const near = new Stack(chunk, { disk: miss, zone: hit, origin: hit });
    await near.time.until(near.loader.load(chunk.ref, { deadlineMs }));
    assert.deepEqual(
      near.tiers.map(({ offers, gets }) => [gets.length, offers.length]),
      [
        [1, 1],
        [1, 0],
        [0, 0],
      ],
    );
  }
});

test('a corrupt copy is forgotten and replaced; one that only the manifest lists wrongly is not', async () => {
  const chunk = sample(3);
  const flipped: TierScript = { answer: 'flipped', ...quick };
  const stack = new Stack(chunk, { disk: flipped, zone: hit, origin: hit });
  const { tier } = await stack.time.until(stack.loader.load(chunk.ref, { deadlineMs }));
  assert.equal(tier, 'l2');
  assert.deepEqual([stack.disk.forgets, stack.disk.offers.length], [1, 1]);

  for (const wrong of [
    { ...chunk.ref, codec: 'zstd-v1' as const },
    { ...chunk.ref, storedLengthBytes: 4096 },
  ]) {
    const whole = new Stack(chunk, { disk: hit, zone: hit, origin: hit });
    const load = whole.loader.load(wrong, { deadlineMs });
    await assert.rejects(whole.time.until(load), { code: 'ERR_CACHE_CHUNK_UNREADABLE' });
    // Or any tenant could empty the caches of other tenants' chunks, and load the origin, by a manifest made for it.
    assert.deepEqual(
      whole.tiers.map(({ forgets, gets }) => [forgets, gets.length]),
      [
        [0, 1],
        [0, 0],
        [0, 0],
      ],
    );
  }
});

test('a slow tier is hedged by the next; the first verified answer wins and the other is aborted', async () => {
  const chunk = sample(4);
  const slow: TierScript = { answer: 'hit', afterMs: 500, hedgeAfterMs: 20 };
  const stack = new Stack(chunk, {
    disk: miss,
    zone: slow,
    origin: { answer: 'hit', afterMs: 30 },
  });
  const { tier } = await stack.time.until(stack.loader.load(chunk.ref, { deadlineMs }));
  assert.deepEqual([tier, stack.time.monotonicMs()], ['origin', 51]);
  assert.equal(stack.zone.gets[0]?.signal.aborted, true);
  assert.deepEqual([stack.disk.offers.length, stack.zone.offers.length], [1, 0]);
  assert.deepEqual(stack.loader.status().hedges, { started: 1, won: 1, refused: 0 });

  stack.zone.script = { answer: 'hit', afterMs: 30, hedgeAfterMs: 20 };
  stack.origin.script = { answer: 'hit', afterMs: 500 };
  const again = await stack.time.until(stack.loader.load(chunk.ref, { deadlineMs }));
  assert.equal(again.tier, 'l2');
  assert.equal(stack.origin.gets[1]?.signal.aborted, true);
  assert.equal(stack.loader.status().originPlaces.taken, 0);
});

test('a zone that is slow as a whole does not send the reads to the origin, but for a share of them', async () => {
  const chunk = sample(1);
  const slow: TierScript = { answer: 'hit', afterMs: 500, hedgeAfterMs: 20 };
  const stack = new Stack(chunk, {
    disk: miss,
    zone: slow,
    origin: { answer: 'never', afterMs: 0 },
  });
  for (let round = 0; round < 400; round += 1) {
    await stack.time.until(stack.loader.load(chunk.ref, { deadlineMs }));
  }
  const { started, refused } = stack.loader.status().hedges;
  assert.equal(started + refused, 400);
  assert.equal(stack.origin.gets.length, started);
  // A full bucket, and a twentieth of the reads.
  assert.ok(started <= 10 + 400 / 20, `${started}`);
  assert.ok(started >= 400 / 20, `${started}`);
});

test('what nobody waits for is not hedged until somebody does', async () => {
  const chunk = sample(5);
  const slow: TierScript = { answer: 'hit', afterMs: 900, hedgeAfterMs: 20 };
  const stack = new Stack(chunk, { disk: miss, zone: slow, origin: hit });
  const ahead = stack.loader.load(chunk.ref, { deadlineMs, priority: 'prefetch' });
  await stack.time.pass(100);
  assert.equal(stack.origin.gets.length, 0);
  assert.equal(stack.zone.gets[0]?.priority, 'prefetch');
  const wanted = stack.loader.load(chunk.ref, { deadlineMs });
  assert.equal(stack.zone.gets[0]?.priority, 'foreground');
  assert.deepEqual([stack.disk.reviews, stack.zone.reviews], [0, 1], 'whoever is asked is told');
  const [{ tier }] = await stack.time.until(Promise.all([wanted, ahead]));
  assert.deepEqual([tier, stack.time.monotonicMs()], ['origin', 101]);
});

test('a miss that comes after the next tier was asked asks no third one', async () => {
  const chunk = sample(10);
  const late: TierScript = { answer: 'miss', afterMs: 30, hedgeAfterMs: 20 };
  const stack = new Stack(chunk, { disk: late, zone: { answer: 'hit', afterMs: 40 }, origin: hit });
  const { tier } = await stack.time.until(stack.loader.load(chunk.ref, { deadlineMs }));
  assert.deepEqual([tier, stack.time.monotonicMs()], ['l2', 60]);
  assert.equal(stack.origin.gets.length, 0);
  assert.equal(stack.disk.offers.length, 1);
});

test('at the origin, prefetch waits for its share of the places, and goes at once when a reader joins it', async () => {
  const time = new VirtualTime();
  const [first, second] = [sample(11), sample(12)];
  assert.ok(first !== undefined && second !== undefined);
  const names: string[] = [];
  const loader = createTieredLoader({
    store: {
      get: async (name) => {
        names.push(name);
        await time.sleep(100);
        return [first, second].find(({ ref }) => name.endsWith(toHex(ref.ciphertextDigest)))
          ?.ciphertext;
      },
    },
    originConcurrency: 2,
    time,
  });
  const ahead = { deadlineMs, priority: 'prefetch' } as const;
  const loads = [loader.load(first.ref, ahead), loader.load(second.ref, ahead)];
  await time.pass(10);
  assert.deepEqual(loader.status().originPlaces, { total: 2, taken: 1, waiting: 1 });
  loads.push(loader.load(second.ref, { deadlineMs }));
  await time.pass(0);
  assert.deepEqual(loader.status().originPlaces, { total: 2, taken: 2, waiting: 0 });
  await time.until(Promise.all(loads));
  assert.deepEqual([names.length, time.monotonicMs()], [2, 110]);
});

test('a tier that never answers is given up, whether or not it heeds that, and is told from one that says no', async () => {
  const chunk = sample(6);
  for (const answer of ['never', 'deaf'] as const) {
    const stack = new Stack(chunk, { disk: { answer, afterMs: 0 }, zone: miss, origin: hit });
    const { tier } = await stack.time.until(stack.loader.load(chunk.ref, { deadlineMs }));
    assert.deepEqual([tier, stack.time.monotonicMs()], ['origin', patienceMs + 2]);
    const [disk, zone] = stack.loader.status().tiers;
    assert.deepEqual([disk?.outcomes.timeout, zone?.outcomes.miss], [1, 1]);
  }
});

test('loads, joins, raises and deadlines in any order: each load gets its bytes or its deadline', async () => {
  const chunk = sample(7);
  const calls = fc.array(
    fc.record(
      {
        atMs: fc.integer({ min: 0, max: 30 }),
        priority: fc.constantFrom('foreground' as const, 'prefetch' as const),
        deadlineMs: fc.constantFrom(5, 20, 1000),
      },
      { noNullPrototype: true },
    ),
    { minLength: 1, maxLength: 6 },
  );
  await fc.assert(
    fc.asyncProperty(calls, fc.integer({ min: 0, max: 40 }), async (program, originMs) => {
      const stack = new Stack(chunk, {
        disk: miss,
        zone: { answer: 'hit', afterMs: 25, hedgeAfterMs: 10 },
        origin: { answer: 'hit', afterMs: originMs },
      });
      const { time, loader } = stack;
      const ends = program.map(async (call) => {
        await time.sleep(call.atMs);
        const startedMs = time.monotonicMs();
        const outcome = await loader.load(chunk.ref, call).then(
          ({ plaintext }) => chunk.plaintext.equals(plaintext),
          (thrown: unknown) => errorCode(thrown),
        );
        const tookMs = time.monotonicMs() - startedMs;
        if (outcome === true) assert.ok(tookMs <= call.deadlineMs);
        else assert.deepEqual([outcome, tookMs], ['ERR_CACHE_DEADLINE', call.deadlineMs]);
      });
      await time.until(Promise.all(ends));
      await time.pass(0);
      const status = loader.status();
      assert.deepEqual([status.searches, time.waitingCount], [0, 0]);
      assert.ok(status.tiers.every(({ inFlight }) => inFlight === 0));
      assert.deepEqual(status.originPlaces, { total: 16, taken: 0, waiting: 0 });
    }),
  );
});

test('answers in any order: who joins one search gets the same bytes, and every tier is asked once', async () => {
  const chunk = sample(9);
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.integer({ min: 1, max: 4 }), async (scheduler, count) => {
      const gets: string[] = [];
      const tierOf = (name: string, answer: Uint8Array | undefined) => ({
        get: async () => {
          gets.push(name);
          return scheduler.schedule(Promise.resolve(answer && new Uint8Array(answer)));
        },
        offer: () => {},
        forget: async () => scheduler.schedule(Promise.resolve()),
        hedgeAfterMs: () => Infinity,
      });
      const spoilt = chunk.ciphertext.map((byte) => byte ^ 1);
      const loader = createTieredLoader({
        tiers: [
          { tier: 'l1-disk', cache: tierOf('disk', spoilt) },
          { tier: 'l2', cache: tierOf('zone', undefined) },
        ],
        store: { get: tierOf('origin', chunk.ciphertext).get },
      });
      const loads = Array.from({ length: count }, (_, index) =>
        loader.load(chunk.ref, {
          deadlineMs: 60_000,
          priority: index === 0 ? 'prefetch' : 'foreground',
        }),
      );
      for (const { plaintext } of await scheduler.waitFor(Promise.all(loads))) {
        assert.equal(chunk.plaintext.compare(plaintext), 0);
      }
      assert.deepEqual(gets, ['disk', 'zone', 'origin']);
    }),
    { numRuns: 30 },
  );
});

test('of what a tier has verified nothing is hashed again, and what it has not is', async () => {
  const chunk = sample(1);
  const stack = new Stack(chunk, { disk: hit, zone: miss, origin: hit });
  const wrong = chunk.ciphertext.map((byte) => byte ^ 1);
  const given = [new Uint8Array(chunk.ciphertext), new Uint8Array(wrong)];
  const answers: (boolean | undefined)[] = [];
  stack.disk.get = async (_, { isRight }) => {
    answers.push(isRight?.(wrong), isRight?.(chunk.ciphertext.subarray(1)));
    answers.push(isRight?.(new Uint8Array(chunk.ciphertext)));
    const next = given.shift();
    if (given.length === 1 && next !== undefined) answers.push(isRight?.(next));
    return next;
  };
  const load = async (): Promise<string> => {
    const { plaintext, tier } = await stack.time.until(
      stack.loader.load(chunk.ref, { deadlineMs }),
    );
    assert.equal(Buffer.compare(plaintext, chunk.plaintext), 0);
    return tier;
  };
  assert.equal(await load(), 'l1-disk');
  assert.equal(await load(), 'origin');
  assert.deepEqual(answers, [false, false, true, true, false, false, true]);
  assert.deepEqual([stack.disk.forgets, stack.opened], [1, 2]);
});

test('of a compressed chunk no tier can ask whether it is right', async () => {
  const chunk = sample(1, 'zstd-v1');
  const stack = new Stack(chunk, { disk: hit, zone: miss, origin: hit });
  await stack.time.until(stack.loader.load(chunk.ref, { deadlineMs }));
  assert.deepEqual(
    stack.disk.gets.map(({ isRight }) => isRight),
    [undefined],
  );
});
