/** `npm test` itself: that skipped tests are told, that CI fails on them, and that failures and counts get through. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { projectRoot } from './support/source-files.ts';

interface Run {
  readonly status: number | null;
  readonly lines: string[];
  readonly errors: string;
}

function runTests(t: TestContext, text: string, requireAll: '0' | '1' = '0'): Run {
  const folder = mkdtempSync(join(tmpdir(), 'thaw-test-reporter-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'a.test.mjs');
  writeFileSync(file, `import { test } from 'node:test';\n${text}`);
  // What Node's runner tells the files that it runs would keep the inner runner from running at all.
  const { NODE_TEST_CONTEXT: _ours, ...environment } = process.env;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(projectRoot, 'scripts/test.ts'), file],
    {
      encoding: 'utf8',
      env: { ...environment, THAW_TEST_REQUIRE_ALL: requireAll },
    },
  );
  return { status, lines: stdout.split('\n'), errors: `${stdout}${stderr}` };
}

const skipping = `
test('with root', { skip: 'needs root' }, () => {});
test('with fuse', (t) => t.skip('needs /dev/fuse'));
test('with root too', { skip: 'needs root' }, () => {});
test('elsewhere', { skip: 'only on Fridays' }, () => {});
test('here', () => {});
`;

test('tests that were skipped are listed by reason, right before the counts of the runner', (t) => {
  const { status, lines } = runTests(t, skipping);
  assert.equal(status, 0);
  const list = lines.slice(lines.indexOf('ℹ not run: needs /dev/fuse (1)'));
  assert.deepEqual(list.slice(0, 8), [
    'ℹ not run: needs /dev/fuse (1)',
    'ℹ     with fuse',
    'ℹ not run: needs root (2)',
    'ℹ     with root',
    'ℹ     with root too',
    'ℹ not run: only on Fridays (1)',
    'ℹ     elsewhere',
    'ℹ tests 5',
  ]);
  assert.ok(list.includes('ℹ pass 1') && list.includes('ℹ skipped 4'));
});

test('where every component is required, a test that needs one fails the run; other reasons do not', (t) => {
  const { status, lines } = runTests(t, skipping, '1');
  assert.equal(status, 1);
  assert.ok(lines.some((line) => line.includes('THAW_TEST_REQUIRE_ALL is set and 3 tests miss')));
  assert.equal(runTests(t, "test('x', { skip: 'only on Fridays' }, () => {});", '1').status, 0);
});

test('a file that leaves something open fails, and is told what, though its tests pass', (t) => {
  const leaking = `import { createServer } from 'node:http';
     test('passes', () => { createServer().listen(0, '127.0.0.1'); });`;
  const { status, lines, errors } = runTests(t, leaking);
  assert.equal(status, 1);
  assert.match(errors, /a\.test\.mjs has ended its tests and left open: .*TCPServerWrap/);
  assert.ok(lines.includes('ℹ fail 1'));
});

test('a failing test fails the run and is shown', (t) => {
  const { status, lines } = runTests(t, "test('fails', () => { throw new Error('as it must'); });");
  assert.equal(status, 1);
  assert.ok(lines.includes('ℹ fail 1'));
  assert.ok(lines.some((line) => line.includes('as it must')));
});
