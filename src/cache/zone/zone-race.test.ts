import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import type { Priority } from '../../base/index.ts';
import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { encodeStripes, rebuildChunk } from '../../erasure/index.ts';
import { ServerUnavailableError } from '../errors.ts';
import { encodeStripe } from './stripe.ts';
import { namedChunk } from '../testing/cache-tier-conformance.ts';
import { askBy } from '../testing/asking.ts';
import { raceStripes, type RaceOptions, type RaceVerdict } from './zone-race.ts';
import type { ZoneServer } from './zone-server.ts';

const { name, ciphertext } = namedChunk(1, 4 * 4096);
const { data, parity } = encodeStripes(ciphertext);
const values = [...data, parity].map((payload, index) =>
  Buffer.concat(encodeStripe(name, index, payload)),
);

const flipped = Buffer.from(values[0] ?? []);
flipped.writeUInt8(flipped.readUInt8(1000) ^ 1, 1000);

/** What a server does with its one request: gives the stripe of an index, or something else; `flipped`: stripe 0 with a bit that is wrong. */
type Behaviour = number | 'none' | 'corrupt' | 'flipped' | 'fails' | 'throws' | 'hangs';

const behaviour: fc.Arbitrary<Behaviour> = fc.oneof(
  { weight: 6, arbitrary: fc.nat(4) },
  fc.constantFrom<Behaviour>('none', 'corrupt', 'flipped', 'fails', 'throws', 'hangs'),
);

function serverThat(does: Behaviour, schedule: <T>(work: Promise<T>) => Promise<T>): ZoneServer {
  const get = (): Promise<Uint8Array | undefined> => {
    if (does === 'throws') throw new ServerUnavailableError('a', 'it is down');
    if (does === 'hangs') return new Promise(() => {});
    if (does === 'none') return schedule(Promise.resolve(undefined));
    if (does === 'corrupt') return schedule(Promise.resolve(new Uint8Array(100)));
    if (does === 'flipped') return schedule(Promise.resolve(flipped));
    if (does !== 'fails') return schedule(Promise.resolve(values[does]));
    return schedule(Promise.reject(new ServerUnavailableError('a', 'the connection broke')));
  };
  return { ask: askBy(get) } as Partial<ZoneServer> as ZoneServer;
}

/** What outcomes there may be, whatever the order of the answers. */
function verdictsOf(behaviours: readonly Behaviour[]): readonly RaceVerdict[] {
  const count = (...kinds: readonly Behaviour[]): number =>
    behaviours.filter((does) => kinds.includes(does)).length;
  const stripes = behaviours.filter((does) => typeof does === 'number');
  const distinct = new Set(stripes).size;
  if (distinct >= 4) return ['hit'];
  if (distinct + count('hangs') >= 4) return ['late'];
  const unavailable = count('fails', 'throws');
  const none = count('none', 'corrupt', 'flipped') + stripes.length - distinct;
  return [
    ...(none > 0 ? ['miss' as const] : []),
    ...(unavailable > behaviours.length - 4 ? ['unavailable' as const] : []),
  ];
}

/** A race for the chunk that is over after 250 ms at the latest. */
function raceOver(servers: RaceOptions['servers'], time: VirtualTime): RaceOptions {
  return {
    servers,
    key: 'key',
    chunk: name,
    deadlineMs: 250,
    time,
    refusalPatienceMs: () => 20,
    pauses: new Set(),
    onAnswer: () => {},
    onOver: () => {},
  };
}

test('whatever servers answer, and in whatever order, the verdict is what they have', async () => {
  const count = { min: 4, max: 5 };
  const lists = fc.array(behaviour, { minLength: count.min, maxLength: count.max });
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), lists, fc.boolean(), async (scheduler, behaviours, asks) => {
      const timers = new VirtualTime();
      const servers = behaviours.map((does) =>
        serverThat(does, (work) => scheduler.schedule(work)),
      );
      const isRight = (bytes: Uint8Array): boolean => Buffer.compare(bytes, ciphertext) === 0;
      const request = {
        signal: new AbortController().signal,
        priority: 'foreground',
        isRight: asks ? isRight : undefined,
      } as const;
      const racing = raceStripes(raceOver(servers, timers), request);
      await scheduler.waitIdle();
      const { verdict, stripes, answers, ciphertext: made } = await timers.until(racing);
      assert.ok(verdictsOf(behaviours).includes(verdict), verdict);
      assert.equal(timers.monotonicMs(), verdict === 'late' ? 250 : 0);
      assert.equal(timers.waitingCount, 0);
      assert.deepEqual(made, verdict === 'hit' ? Buffer.from(ciphertext) : undefined);
      if (verdict === 'hit') assert.deepEqual(rebuildChunk(stripes), Buffer.from(ciphertext));
      for (const [position, answer] of answers.entries()) {
        if (answer.kind !== 'stripe') continue;
        // Of a second stripe 0, without which the chunk was right, nobody asks.
        const isUnused = stripes[answer.index] !== answer.payload;
        if (verdict !== 'hit' || !isUnused) assert.equal(answer.index, behaviours[position]);
      }
    }),
    { numRuns: 400 },
  );
});

test('an abort at any moment rejects with its reason, or comes too late', async () => {
  const lists = fc.array(behaviour, { minLength: 5, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), lists, async (scheduler, behaviours) => {
      const timers = new VirtualTime();
      const servers = behaviours.map((does) =>
        serverThat(does, (work) => scheduler.schedule(work)),
      );
      const abort = new AbortController();
      const reason = new Error('no longer wanted');
      const request = { signal: abort.signal, priority: 'foreground' } as const;
      const racing = raceStripes(raceOver(servers, timers), request).catch(
        (thrown: unknown) => thrown,
      );
      void scheduler.schedule(Promise.resolve()).then(() => abort.abort(reason));
      await scheduler.waitIdle();
      const outcome = await racing;
      if (outcome instanceof Error) assert.equal(outcome, reason);
      else
        assert.ok(verdictsOf(behaviours).includes((outcome as { verdict: RaceVerdict }).verdict));
      assert.equal(timers.waitingCount, 0);
    }),
    { numRuns: 150 },
  );
});

test('a server that refuses is tried again while there is patience, one that is down is not', async () => {
  const time = new VirtualTime();
  const request = { signal: new AbortController().signal, priority: 'foreground' } as const;
  const raceOf = async (refusedMs: number, state: 'up' | 'down'): Promise<[string, number]> => {
    const startedMs = time.monotonicMs();
    const servers = values.map((value, index) => {
      const get: ZoneServer['get'] = async () => {
        if (index < 3 || time.monotonicMs() - startedMs >= refusedMs) return Buffer.from(value);
        throw new ServerUnavailableError('a', 'too many requests');
      };
      return { ask: askBy(get), state } as Partial<ZoneServer> as ZoneServer;
    });
    const racing = raceStripes(raceOver(servers, time), request);
    const { verdict } = await time.until(racing);
    return [verdict, time.monotonicMs() - startedMs];
  };
  assert.deepEqual(await raceOf(0, 'up'), ['hit', 0]);
  assert.deepEqual(await raceOf(5, 'up'), ['hit', 7]);
  assert.deepEqual(await raceOf(1000, 'up'), ['unavailable', 15]);
  assert.deepEqual(await raceOf(5, 'down'), ['unavailable', 0]);
  assert.equal(time.waitingCount, 0);
});

test('a request that becomes urgent under way is so for the servers too', async () => {
  const time = new VirtualTime();
  const asked: { readonly priority: string }[] = [];
  const server = {
    ask: askBy(async (_, servedRequest) => {
      asked.push(servedRequest);
      await time.sleep(10);
      return undefined;
    }),
  } as Partial<ZoneServer> as ZoneServer;
  const request: { signal: AbortSignal; priority: Priority } = {
    signal: new AbortController().signal,
    priority: 'prefetch',
  };
  const servers = Array.from({ length: 5 }, () => server);
  const racing = raceStripes(raceOver(servers, time), request);
  request.priority = 'foreground';
  assert.deepEqual(
    asked.map(({ priority }) => priority),
    Array(5).fill('foreground'),
  );
  await time.until(racing);
});

test('a request that becomes urgent is tried again at once where it was refused', async () => {
  const time = new VirtualTime();
  const pauses = new Set<() => void>();
  const request: { signal: AbortSignal; priority: Priority } = {
    signal: new AbortController().signal,
    priority: 'prefetch',
  };
  let asked = 0;
  const servers = values.map((value) => {
    const get: ZoneServer['get'] = async (_, { priority }) => {
      asked += 1;
      if (priority === 'prefetch') throw new ServerUnavailableError('a', 'too many requests');
      return Buffer.from(value);
    };
    return { ask: askBy(get), state: 'up' } as Partial<ZoneServer> as ZoneServer;
  });
  const racing = raceStripes({ ...raceOver(servers, time), pauses }, request);
  await time.pass(1.5);
  assert.deepEqual([asked, pauses.size], [10, 5]);
  for (const look of pauses) look();
  await time.pass(0);
  assert.equal(asked, 10, 'nobody waits yet');
  request.priority = 'foreground';
  for (const look of pauses) look();
  const { verdict } = await time.until(racing);
  assert.deepEqual([verdict, time.monotonicMs(), pauses.size], ['hit', 1.5, 0]);
});

test('a chunk that is right costs no checksum, and one that is wrong shows which stripe is', async () => {
  const time = new VirtualTime();
  const asked: boolean[] = [];
  const isRight = (bytes: Uint8Array): boolean => {
    asked.push(Buffer.compare(bytes, ciphertext) === 0);
    return asked.at(-1) ?? false;
  };
  const request = {
    signal: new AbortController().signal,
    priority: 'foreground',
    isRight,
  } as const;
  const kindsOf = async (given: readonly Uint8Array[]): Promise<string> => {
    const servers = given.map((value, index) => {
      const get = async (): Promise<Uint8Array> => {
        await time.sleep(index);
        return value;
      };
      return { ask: askBy(get), state: 'up' } as Partial<ZoneServer> as ZoneServer;
    });
    const { verdict, answers } = await time.until(raceStripes(raceOver(servers, time), request));
    return [verdict, ...answers.map(({ kind }) => kind)].join(' ');
  };
  assert.equal(await kindsOf(values), 'hit stripe stripe stripe stripe pending');
  assert.deepEqual(asked.splice(0), [true]);
  const spoilt = [flipped, ...values.slice(1)];
  assert.equal(await kindsOf(spoilt), 'hit corrupt stripe stripe stripe stripe');
  assert.deepEqual(asked.splice(0), [false, true]);
  const withoutSpare = [flipped, ...values.slice(1, 4)];
  assert.equal(await kindsOf(withoutSpare), 'miss corrupt pending pending pending');
});

test('of stripes that are all whole and make another chunk, the reader gets that chunk', async () => {
  const time = new VirtualTime();
  const forged = Buffer.concat(encodeStripe(name, 0, new Uint8Array(data[0]?.byteLength ?? 0)));
  const servers = [forged, ...values.slice(1)].map((value) => {
    return { ask: askBy(async () => value) } as Partial<ZoneServer> as ZoneServer;
  });
  const request = { signal: new AbortController().signal, priority: 'foreground' } as const;
  const racing = raceStripes(raceOver(servers, time), { ...request, isRight: () => false });
  const { verdict, ciphertext: made } = await time.until(racing);
  assert.deepEqual([verdict, made?.byteLength], ['hit', ciphertext.byteLength]);
});
