import assert from 'node:assert/strict';
import { test } from 'node:test';

import { OciNotFoundError, OciRateLimitedError, OciUnreachableError } from './errors.ts';
import {
  Retries,
  RetryBudget,
  defaultRetrySettings,
  withRetries,
  type RetryContext,
} from './retry.ts';

const failure = new OciUnreachableError('here', 'it is gone', { retryable: true });

/** A context that notes the waits instead of waiting. */
function contextWith(random: number, retries = 100): RetryContext & { waits: number[] } {
  const waits: number[] = [];
  const sleep = async (delayMs: number) => void waits.push(delayMs);
  const clock = { nowMs: () => 0, monotonicMs: () => 0 };
  return {
    settings: defaultRetrySettings,
    timing: { clock, random: () => random, sleep },
    budget: new RetryBudget(retries),
    signal: new AbortController().signal,
    waits,
  };
}

test('withRetries() doubles the wait, between half and all of it by chance, then gives up', async () => {
  const longest = contextWith(1 - Number.EPSILON);
  await assert.rejects(
    withRetries(longest, () => Promise.reject(failure)),
    failure,
  );
  assert.deepEqual(
    longest.waits.map((delayMs) => Math.round(delayMs)),
    [250, 500, 1000, 2000],
  );
  const shortest = contextWith(0);
  await assert.rejects(
    withRetries(shortest, () => Promise.reject(failure)),
    failure,
  );
  assert.deepEqual(shortest.waits, [125, 250, 500, 1000]);
});

test('withRetries() gives what a later attempt gives', async () => {
  let attempts = 0;
  const work = async () => {
    attempts += 1;
    if (attempts < 3) throw failure;
    return 'done';
  };
  assert.equal(await withRetries(contextWith(0), work), 'done');
});

test('withRetries() does not repeat what cannot get better', async () => {
  const context = contextWith(0);
  const final = new OciNotFoundError('x', 'y', 'z');
  await assert.rejects(
    withRetries(context, () => Promise.reject(final)),
    final,
  );
  await assert.rejects(
    withRetries(context, () => Promise.reject(new TypeError('bug'))),
    TypeError,
  );
  assert.deepEqual(context.waits, []);
});

test('Retries waits as long as the registry asks, but not longer than the limit', async () => {
  const context = contextWith(0);
  await new Retries(context).pause(new OciRateLimitedError('here', 7000));
  assert.deepEqual(context.waits, [7000]);
  const tooLong = new OciRateLimitedError('here', 61_000);
  await assert.rejects(new Retries(context).pause(tooLong), tooLong);
});

test('Retries forgives earlier failures where there was progress, within the image’s budget', async () => {
  const context = contextWith(0, 10);
  const retries = new Retries(context);
  for (let round = 0; round < 10; round += 1) {
    retries.progressed();
    await retries.pause(failure);
  }
  assert.equal(Math.max(...context.waits), 125);
  retries.progressed();
  await assert.rejects(retries.pause(failure), failure);
});

test('Retries throws the signal’s reason once it is aborted', async () => {
  const reason = new Error('stopped');
  const retries = new Retries({ ...contextWith(0), signal: AbortSignal.abort(reason) });
  await assert.rejects(retries.pause(failure), reason);
});
