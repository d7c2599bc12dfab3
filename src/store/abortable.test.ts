import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';

import { abortable } from './abortable.ts';

test('abortable() ends with the work, and leaves no listener behind', async () => {
  const { signal } = new AbortController();
  assert.equal(await abortable(Promise.resolve(5), signal), 5);
  const failure = new Error('the work failed');
  await assert.rejects(abortable(Promise.reject(failure), signal), failure);
  assert.equal(getEventListeners(signal, 'abort').length, 0);
});

test('abortable() rejects with the reason, aborted before or meanwhile', async () => {
  const never = new Promise(() => {});
  const reason = new Error('no longer wanted');
  await assert.rejects(abortable(never, AbortSignal.abort(reason)), reason);
  const abort = new AbortController();
  const waiting = abortable(never, abort.signal);
  abort.abort(reason);
  await assert.rejects(waiting, reason);
});
