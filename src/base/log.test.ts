import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createLog, silentLog, type Log, type LogOptions } from './log.ts';

const now = () => new Date('2026-01-02T03:04:05.678Z');

function recorded(options: LogOptions, write: (log: Log) => void): string[] {
  const lines: string[] = [];
  write(createLog({ now, ...options, write: (line) => void lines.push(line) }));
  return lines;
}

function everyLevel(log: Log): void {
  log.debug('a');
  log.info('b');
  log.warn('c');
  log.error('d');
}

test('a text line is time, level, message and fields, strings quoted and undefined left out', () => {
  assert.deepEqual(
    recorded({}, (log) =>
      log.warn('Chunk dropped', { tier: 'l2 zone', bytes: 5, kept: false, why: undefined }),
    ),
    ['2026-01-02T03:04:05.678Z warn Chunk dropped tier="l2 zone" bytes=5 kept=false\n'],
  );
});

test('a JSON line is one object, undefined left out', () => {
  const [line = ''] = recorded({ format: 'json' }, (log) =>
    log.error('Lost', { chunk: 'ab\n"', count: 2, why: undefined }),
  );
  assert.match(line, /^[^\n]*\n$/);
  assert.deepEqual(JSON.parse(line), {
    time: '2026-01-02T03:04:05.678Z',
    level: 'error',
    message: 'Lost',
    chunk: 'ab\n"',
    count: 2,
  });
});

test('only lines of the least level and above are written; by default info', () => {
  const levels = (lines: string[]) => lines.map((line) => line.split(' ')[1]);
  assert.deepEqual(levels(recorded({}, everyLevel)), ['info', 'warn', 'error']);
  assert.deepEqual(levels(recorded({ level: 'debug' }, everyLevel)), [
    'debug',
    'info',
    'warn',
    'error',
  ]);
  assert.deepEqual(levels(recorded({ level: 'error' }, everyLevel)), ['error']);
});

test('a line break in a message or field cannot forge a line of its own', () => {
  const forged = 'Cannot read "a\n2026-01-02T03:04:05.678Z error all is lost\r\n"';
  for (const format of ['text', 'json'] as const) {
    const [line = '', ...others] = recorded({ format }, (log) =>
      log.info(forged, { name: 'x\ny' }),
    );
    assert.deepEqual(others, []);
    assert.match(line, /^[^\r\n]*\n$/);
  }
});

test('the silent log writes nothing', (t) => {
  const write = t.mock.method(process.stderr, 'write', () => true);
  everyLevel(silentLog);
  assert.equal(write.mock.callCount(), 0);
});
