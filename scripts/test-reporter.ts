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

export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  yield* Readable.from(withSkips(events)).compose(spec());
}
