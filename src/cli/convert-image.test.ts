import assert from 'node:assert/strict';
import { test } from 'node:test';

import { primingShortfall } from './convert-image.ts';

test('chunks that the zone did not take are told of, with how many of how many', () => {
  const words = primingShortfall({ chunks: 2, failed: 3 }) ?? assert.fail('nothing told');
  assert.match(words, /^3 of 5 new chunks/);
  assert.match(words, /from the origin/);
});

test('nothing is told where all was primed, nothing was new, or nobody asked for it', () => {
  for (const primed of [{ chunks: 5, failed: 0 }, { chunks: 0, failed: 0 }, undefined]) {
    assert.equal(primingShortfall(primed), undefined);
  }
});
