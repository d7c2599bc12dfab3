/** How many cold starts a second one worker sustains: many functions of one small image, each invoked in turn by several clients. */

import { createHash } from 'node:crypto';

import type { ThawUnderTest } from './thaw.ts';
import { quantile } from './samples.ts';

/** More than instances are kept (`functions.instances_max`, 100), so that no function is warm when its turn comes again. */
const functionCount = 150;
const clientCount = 4;

export interface Sustained {
  readonly clients: number;
  readonly seconds: number;
  readonly coldStarts: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Refused, or failed otherwise. */
  readonly failed: number;
}

/** `image`: a published one's name. The first round is not counted. */
export async function measureSustained(
  thaw: ThawUnderTest,
  image: string,
  durationMs: number,
): Promise<Sustained> {
  const prefix = createHash('sha256').update(image).digest('hex').slice(0, 8);
  const names = Array.from({ length: functionCount }, (_, at) => `sustained-${prefix}-${at}`);
  for (const name of names) await thaw.create(name, image);
  let at = 0;
  const invokeUntil = async (
    isDone: () => boolean,
    onTime: (ms: number) => void,
  ): Promise<number> => {
    let failed = 0;
    const client = async (): Promise<void> => {
      while (!isDone()) {
        const name = names[at % names.length] ?? '';
        at += 1;
        const startedAtMs = performance.now();
        const isAnswered = await thaw.invoke(name).then(
          () => true,
          () => false,
        );
        if (isAnswered) onTime(performance.now() - startedAtMs);
        else failed += 1;
      }
    };
    await Promise.all(Array.from({ length: clientCount }, client));
    return failed;
  };
  await invokeUntil(
    () => at >= functionCount,
    () => {},
  );
  await thaw.countColdStarts();
  const timesMs: number[] = [];
  const startedAtMs = performance.now();
  const failed = await invokeUntil(
    () => performance.now() - startedAtMs > durationMs,
    (ms) => timesMs.push(ms),
  );
  const seconds = (performance.now() - startedAtMs) / 1000;
  const coldStarts = await thaw.countColdStarts();
  for (const name of names) await thaw.remove(name);
  return {
    clients: clientCount,
    seconds,
    coldStarts,
    perSecond: coldStarts / seconds,
    p50Ms: quantile(timesMs, 0.5),
    p99Ms: quantile(timesMs, 0.99),
    failed,
  };
}
