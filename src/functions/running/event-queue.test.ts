/** Asynchronous invokes through the whole service, over a real catalog, in virtual time. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  imageOf,
  manifestIds,
  openServiceFixture,
  type ServiceFixture,
  type ServiceFixtureOptions,
} from '../testing/service-fixture.ts';
import { never, respond } from '../testing/simulated-worker.ts';

interface Ran {
  readonly id: string;
  readonly atMs: number;
  readonly event: unknown;
}

interface Recording extends ServiceFixture {
  /** What functions got, in order. */
  readonly ran: readonly Ran[];
}

interface RecordingOptions extends Pick<ServiceFixtureOptions, 'service'> {
  /** Whether functions report an error. Default: no. */
  readonly fails?: boolean;
  /** Instead of an answer after a tenth of a second. */
  readonly handle?: () => Promise<never> | undefined;
}

/** A service whose functions write down what they get. */
async function openRecording(options: RecordingOptions = {}): Promise<Recording> {
  const { fails = false, handle, ...others } = options;
  const ran: Ran[] = [];
  const fixture = await openServiceFixture({
    ...others,
    program: () => ({
      handle: async ({ requestId: id, payload }) => {
        await handle?.();
        const event = JSON.parse(Buffer.from(payload).toString()) as unknown;
        ran.push({ id, atMs: fixture.time.monotonicMs(), event });
        await fixture.time.sleep(100);
        return fails ? { ...respond({}), kind: 'error', errorType: 'Error' } : respond({});
      },
    }),
  });
  return { ...fixture, ran };
}

async function later(
  { service }: ServiceFixture,
  event: unknown,
  of: { readonly tenant?: string; readonly name?: string } = {},
): Promise<string> {
  const payload = Buffer.from(JSON.stringify(event));
  const request = { tenant: 'default', name: 'hello', payload, ...of };
  return (await service.invokeLater(request)).requestId;
}

test('an event is kept before its caller is told, run once, and gone after that', async () => {
  await using fixture = await openRecording();
  const { ran } = fixture;
  await fixture.create();
  const id = await later(fixture, { n: 1 });
  assert.equal(await fixture.catalog.countEvents('default'), 1);
  await fixture.time.pass(1000);
  assert.deepEqual(
    ran.map((one) => [one.id, one.event]),
    [[id, { n: 1 }]],
  );
  assert.equal(await fixture.catalog.countEvents('default'), 0);
  await fixture.time.pass(300_000);
  assert.equal(ran.length, 1);
});

test('a function that fails on an event gets it again after one and two minutes, and then no more', async () => {
  await using fixture = await openRecording({ fails: true });
  const { ran } = fixture;
  await fixture.create();
  const id = await later(fixture, {});
  await fixture.time.pass(3_600_000);
  const [first = 0, ...retries] = ran.map(({ atMs }) => atMs);
  assert.deepEqual(
    retries.map((atMs) => Math.round((atMs - first) / 60_000)),
    [1, 3],
  );
  assert.ok(
    ran.every((one) => one.id === id),
    'one request id for all tries',
  );
  assert.equal(await fixture.catalog.countEvents('default'), 0);
});

test("an event's retries and age are those of its function's settings", async () => {
  await using fixture = await openRecording({ fails: true });
  const { ran } = fixture;
  await fixture.create();
  const of = { tenant: 'default', name: 'hello' };
  await fixture.service.setEventInvoke(of, { retriesMax: 1 });
  await later(fixture, {});
  await fixture.time.pass(3_600_000);
  assert.equal(ran.length, 2);
  await fixture.service.setEventInvoke(of, { retriesMax: 2, eventAgeMaxSeconds: 100 });
  await later(fixture, {});
  await fixture.time.pass(3_600_000);
  assert.equal(ran.length, 4, 'the second retry would have come too late');
  assert.equal(await fixture.catalog.countEvents('default'), 0);
});

test('an event that cannot be run backs off from one second to five minutes, for hours', async () => {
  await using fixture = await openRecording({ service: { limits: { instancesMax: 20 } } });
  const { ran } = fixture;
  await fixture.create();
  const of = { tenant: 'default', name: 'hello' };
  fixture.worker.faults.add('acquire');
  await later(fixture, {});
  await fixture.time.pass(21_000_000);
  assert.equal(await fixture.catalog.countEvents('default'), 1, 'not yet six hours old');
  const { started } = fixture.service.startLimits();
  assert.ok(started > 70 && started < 90, `${started} tries`); // 9 up to 5 minutes, then one each
  fixture.worker.faults.clear();
  await fixture.time.pass(300_000);
  assert.equal(ran.length, 1);
  await fixture.service.setReservedConcurrency(of, 0);
  await later(fixture, {});
  await fixture.time.pass(1000);
  assert.equal(ran.length, 1);
  assert.equal(
    await fixture.catalog.countEvents('default'),
    0,
    'its owner has stopped the function',
  );
});

test('the queue of a tenant is bounded, and other tenants do not notice that it is full', async () => {
  const limits = { eventsPerTenantMax: 3 };
  await using fixture = await openRecording({ handle: () => never(), service: { limits } });
  await fixture.catalog.addImage(imageOf(manifestIds[0], 'other'));
  await fixture.create();
  await fixture.create({ tenant: 'other' });
  for (let count = 0; count < 3; count += 1) await later(fixture, {});
  await assert.rejects(later(fixture, {}), {
    code: 'ERR_FUNCTION_THROTTLED',
    message: /its tenant has 3 events waiting/,
  });
  await later(fixture, {}, { tenant: 'other' });
});

test('a tenant with many events does not keep that of another from running', async () => {
  await using fixture = await openRecording({ service: { limits: { eventInvokesMax: 4 } } });
  const { ran } = fixture;
  await fixture.catalog.addImage(imageOf(manifestIds[0], 'other'));
  await fixture.create({ name: 'many' });
  await fixture.create({ tenant: 'other', name: 'one' });
  for (let n = 0; n < 30; n += 1) await later(fixture, 'many', { name: 'many' });
  await later(fixture, 'one', { tenant: 'other', name: 'one' });
  await fixture.time.pass(60_000);
  assert.equal(ran.length, 31);
  const place = ran.findIndex(({ event }) => event === 'one');
  assert.ok(place < 8, `after ${place} others`);
});

test('what a service left when it ended, the next one runs', async () => {
  let hangs = true;
  await using fixture = await openRecording({ handle: () => (hangs ? never() : undefined) });
  const { ran } = fixture;
  await fixture.create();
  const id = await later(fixture, {});
  await fixture.time.pass(1000);
  await fixture.time.until(fixture.service.close());
  assert.equal(await fixture.catalog.countEvents('default'), 1);
  hangs = false;
  const next = fixture.open();
  next.takeUpEvents();
  await fixture.time.pass(1000);
  await fixture.time.until(next.close());
  assert.deepEqual(
    ran.map((one) => one.id),
    [id],
  );
  assert.equal(await fixture.catalog.countEvents('default'), 0);
});

test('an event whose function is gone is gone with it', async () => {
  await using fixture = await openRecording({ fails: true });
  const { ran } = fixture;
  await fixture.create();
  await later(fixture, {});
  await fixture.time.pass(1000);
  await fixture.time.until(fixture.service.remove({ tenant: 'default', name: 'hello' }));
  await fixture.create();
  await fixture.time.pass(3_600_000);
  assert.equal(ran.length, 1);
});

test('an event is refused that is too large, or for a function that is not there', async () => {
  await using fixture = await openRecording();
  await fixture.create();
  await assert.rejects(later(fixture, 'x'.repeat(256 * 1024)), {
    code: 'ERR_FUNCTION_PAYLOAD_TOO_LARGE',
  });
  await assert.rejects(later(fixture, {}, { name: 'gone' }), { code: 'ERR_FUNCTION_NOT_FOUND' });
});
