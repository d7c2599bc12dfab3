/**
 * `npm run sim`: the cache tiers through a bad day in virtual time, see `cache-simulation.ts`. One seed is always one story.
 *
 *     npm run sim -- SEED              one story, event by event
 *     npm run sim -- --runs 200        that many, from a random seed on, a line for each
 *     npm run sim -- SEED --runs 200   the same from SEED on
 *     npm run sim -- SEED --json       the result as JSON
 *
 * Ends with status 1 if anything was not as it should be; the seed tells the story again.
 */

import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';

import {
  simulateCaches,
  type SimulationResult,
} from '../src/cache/testing/simulation/cache-simulation.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string' }, json: { type: 'boolean', default: false } },
});

function wholeNumber(text: string, what: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  throw new Error(`${what} must be a whole number: got "${text}"`);
}

function describe({
  seed,
  virtualMs,
  reads,
  byTier,
  errors,
  corrupt,
  refilledMs,
}: SimulationResult): string {
  const tiers = Object.entries(byTier).map(([tier, count]) => `${tier} ${count}`);
  const failed = Object.entries(errors).map(([code, count]) => `${code} ${count}`);
  return (
    `seed ${seed}: ${(virtualMs / 60_000).toFixed(1)} min, ${reads} reads (${tiers.join(', ')}), ` +
    `${corrupt} corrupt copies, refilled in ${(refilledMs / 1000).toFixed(1)} s` +
    (failed.length > 0 ? `, errors: ${failed.join(', ')}` : '')
  );
}

const first =
  positionals[0] === undefined ? randomInt(2 ** 31) : wholeNumber(positionals[0], 'SEED');
const runs = values.runs === undefined ? 1 : wholeNumber(values.runs, '--runs');

for (let seed = first; seed < first + runs; seed += 1) {
  const tellsEvents = runs === 1 && !values.json;
  const result = await simulateCaches({
    seed,
    ...(tellsEvents && {
      onEvent: (atMs: number, event: string) => {
        if (event !== '')
          process.stdout.write(`${(atMs / 1000).toFixed(3).padStart(9)} s  ${event}\n`);
      },
    }),
  });
  process.stdout.write(`${values.json ? JSON.stringify(result) : describe(result)}\n`);
  for (const violation of values.json ? [] : result.violations)
    process.stdout.write(`  ${violation}\n`);
  if (result.violations.length > 0) process.exitCode = 1;
}
