import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { ThawError } from '../base/index.ts';
import { exitCauseOf, exitStatuses } from './exit-status.ts';

test('the cause of a failure comes from its code, wherever the error was made', () => {
  const remote = new ThawError({ code: 'ERR_STORE_FULL', fault: 'environment', message: 'Full' });
  assert.equal(exitCauseOf(remote), 'noSpace');
  assert.equal(exitCauseOf(Object.assign(new Error('x'), { code: 'ENOSPC' })), 'noSpace');
  assert.equal(exitCauseOf(new DOMException('Interrupted', 'AbortError')), 'interrupted');
  assert.equal(exitCauseOf(new TypeError('x is not a function')), 'bug');
  assert.equal(exitCauseOf('thrown text'), 'bug');
});

test('statuses are told apart, and docs/cli.md lists them', () => {
  const all = Object.values(exitStatuses);
  assert.equal(new Set(all.map(({ status }) => status)).size, all.length);
  const document = readFileSync(join(import.meta.dirname, '../../docs/cli.md'), 'utf8');
  for (const { status, meaning } of all) assert.ok(document.includes(`| ${status} | ${meaning} |`));
});
