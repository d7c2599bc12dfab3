import assert from 'node:assert/strict';
import { test } from 'node:test';

import { defined } from './defined.ts';

test('defined() leaves out what is undefined and nothing else', () => {
  const given: { a: number; b: string | undefined; c: null; d: undefined | boolean } = {
    a: 0,
    b: undefined,
    c: null,
    d: false,
  };
  const kept: { a: number; b?: string; c: null; d?: boolean } = defined(given);
  assert.deepEqual(kept, { a: 0, c: null, d: false });
  assert.equal('b' in kept, false);
});
