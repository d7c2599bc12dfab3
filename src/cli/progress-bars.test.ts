import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';

import { ProgressBars } from './progress-bars.ts';

const clearLine = '\r\u001B[K';

/** A terminal of `columns` that keeps what is written, and a clock that the test moves. */
function terminal(t: TestContext, columns: number, isTTY = true) {
  let nowMs = 0;
  t.mock.method(performance, 'now', () => nowMs);
  let written = '';
  const stream = { isTTY, columns, write: (text: string) => (written += text) };
  const bars = new ProgressBars(stream as never);
  return {
    bars,
    advance: (ms: number) => (nowMs += ms),
    take: () => {
      const taken = written;
      written = '';
      return taken;
    },
  };
}

test('work that is over within a second draws nothing', (t) => {
  const { bars, advance, take } = terminal(t, 80);
  for (let done = 0; done <= 10; done += 1) {
    bars.report({ label: 'Quick', unit: 'chunks', done, total: 10 });
    advance(90);
  }
  bars.clear();
  assert.equal(take(), '');
});

test('longer work draws one line that fits the terminal, and clears it', (t) => {
  const { bars, advance, take } = terminal(t, 80);
  const label = 'A label that is much longer than its place allows';
  bars.report({ label, unit: 'bytes', done: 0, total: 2 ** 40 });
  advance(1500);
  bars.report({ label, unit: 'bytes', done: 2 ** 39, total: 2 ** 40 });
  const drawn = take();
  assert.ok(drawn.startsWith(clearLine));
  const line = drawn.slice(clearLine.length);
  assert.match(line, /^A label .* \[#{12}\.{12}\] 512\.0 GiB of 1\.0 TiB$/);
  assert.ok(line.length < 80);
  bars.clear();
  assert.equal(take(), clearLine);
  bars.clear();
  assert.equal(take(), '', 'nothing is shown any more');
});

test('it draws ten times a second at most, but never skips the end', (t) => {
  const { bars, advance, take } = terminal(t, 80);
  bars.report({ label: 'x', unit: 'files', done: 0 });
  advance(1000);
  let draws = 0;
  for (let done = 1; done <= 1000; done += 1) {
    bars.report({ label: 'x', unit: 'files', done, total: 1000 });
    draws += take() === '' ? 0 : 1;
    advance(1);
  }
  assert.ok(draws >= 10 && draws <= 12, `${draws} draws in a second`);
});

test('without a terminal nothing is drawn', (t) => {
  const { bars, advance, take } = terminal(t, 80, false);
  bars.report({ label: 'x', unit: 'files', done: 0 });
  advance(5000);
  bars.report({ label: 'x', unit: 'files', done: 1 });
  bars.clear();
  assert.equal(take(), '');
});
