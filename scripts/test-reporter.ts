/**
 * Node's `spec` report, with one addition just before its closing counts: which tests were skipped, grouped by
 * reason, since a skipped test proves nothing. Loaded by `node --test --test-reporter`, hence the default export.
 */

import { Readable } from 'node:stream';
import { spec, type TestEvent } from 'node:test/reporters';

type Skipped = Map<string, string[]>;

/** True for the first line of the runner's closing counts; those of a test carry the test's file. */
function isClosing({ type, data }: TestEvent): boolean {
  return type === 'test:diagnostic' && data.file === undefined && /^tests \d+$/.test(data.message);
}

function noteSkip({ type, data }: TestEvent, skipped: Skipped): void {
  if (type !== 'test:pass' || data.skip === undefined || data.skip === false) return;
  const reason = typeof data.skip === 'string' && data.skip !== '' ? data.skip : 'no reason given';
  skipped.set(reason, [...(skipped.get(reason) ?? []), data.name]);
}

function describeSkips(skipped: Skipped): string[] {
  return [...skipped]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([reason, names]) => [
      `not run: ${reason} (${names.length})`,
      ...names.map((name) => `    ${name}`),
    ]);
}

/** CI has every component, so that a test which still misses one there would never run anywhere. */
function missedComponents(skipped: Skipped): number {
  if (process.env['THAW_TEST_REQUIRE_ALL'] !== '1') return 0;
  return [...skipped]
    .filter(([reason]) => reason.startsWith('needs '))
    .flatMap(([, names]) => names).length;
}

function diagnostic(message: string, level: 'info' | 'error'): TestEvent {
  return { type: 'test:diagnostic', data: { nesting: 0, message, level } };
}

async function* withSkips(events: AsyncIterable<TestEvent>): AsyncGenerator<TestEvent> {
  const skipped: Skipped = new Map();
  for await (const event of events) {
    noteSkip(event, skipped);
    if (isClosing(event)) {
      for (const line of describeSkips(skipped)) yield diagnostic(line, 'info');
      const missed = missedComponents(skipped);
      if (missed > 0) {
        process.exitCode = 1;
        yield diagnostic(
          `failed: THAW_TEST_REQUIRE_ALL is set and ${missed} tests miss what they need`,
          'error',
        );
      }
    }
    yield event;
  }
}

/** No test may take longer than that (scripts/test.ts), so that such a silence means a file that cannot end. */
const silenceMaxMs = 11 * 60_000;

/** The test files that have begun and not ended. */
function followFiles({ type, data }: TestEvent, running: Set<string>): void {
  if (type !== 'test:dequeue' && type !== 'test:complete') return;
  if (data.nesting !== 0 || 'entryFile' in data) return;
  if (type === 'test:dequeue') running.add(data.name);
  else running.delete(data.name);
}

/**
 * A file ends when its process and all that hold its output have ended: a daemon that it left keeps the runner waiting for ever.
 * After a minute without news this says which files are awaited; after eleven the run has failed.
 */
async function* watched(events: AsyncIterable<TestEvent>): AsyncGenerator<TestEvent> {
  const running = new Set<string>();
  let silentSinceMs = performance.now();
  const watch = setInterval(() => {
    const silentMs = performance.now() - silentSinceMs;
    process.stderr.write(
      `No news for ${Math.round(silentMs / 1000)} s from ${[...running].join(', ')}\n`,
    );
    if (silentMs >= silenceMaxMs) process.exit(1);
  }, 60_000);
  watch.unref();
  try {
    for await (const event of events) {
      silentSinceMs = performance.now();
      watch.refresh();
      followFiles(event, running);
      yield event;
    }
  } finally {
    clearInterval(watch);
  }
}

export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  yield* Readable.from(withSkips(watched(events))).compose(spec());
}
