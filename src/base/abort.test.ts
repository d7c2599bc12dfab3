import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';

import { untilAborted } from './abort.ts';

test('untilAborted() gives the outcome of the work and leaves no listener behind', async () => {
  const { signal } = new AbortController();
  assert.equal(await untilAborted(Promise.resolve(7), signal), 7);
  await assert.rejects(untilAborted(Promise.reject(new Error('no')), signal), /no/);
  assert.equal(getEventListeners(signal, 'abort').length, 0);
});

test('untilAborted() throws the reason of a signal aborted before or meanwhile', async () => {
  const never = new Promise<void>(() => {});
  const abort = new AbortController();
  const waiting = untilAborted(never, abort.signal);
  const reason = new Error('enough');
  abort.abort(reason);
  await assert.rejects(waiting, reason);
  await assert.rejects(untilAborted(never, abort.signal), reason);
});
