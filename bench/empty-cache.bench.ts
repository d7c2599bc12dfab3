/**
 * The zone's cache is emptied under as many cold starts as are let in, and half as many again that knock: does it fill again, or does it
 * collapse (the paper, section 4.2)? Real small functions of three tenants, each of which reads a file of its own at its start; five
 * memcached servers and Ceph's gateway over a shaped link of 10 Gbit/s + 1 ms, the gateway 36 ms late; a worker with
 * hardly any memory of its own, whose instances are ended as soon as they have answered.
 *
 * Every start must succeed or be refused at once, requests to the origin must stay within their limit, and the share of chunks that come
 * from the zone must be back where it was. Options: `--quick` (few functions, short), `--starts N` in flight (16). Needs root, cgroups,
 * FUSE, memcached and Ceph. Results: docs/benchmarks.md.
 */

import { parseArgs } from 'node:util';

import { openFleet, tenants } from './empty-cache/fleet.ts';
import { difference, Pressure, type PhaseReport, type TierCounts } from './empty-cache/watch.ts';
import type { Report, Table } from './harness.ts';

/** Of all that the zone is asked in a second, what may come from elsewhere more than before. */
const slack = 0.01;
const windowMs = 3000;
const warmUpMaxMs = 180_000;
const recoveryMaxMs = 180_000;

function progress(what: string): void {
  process.stderr.write(`${what}\n`);
}

function hitRatio({ zoneHits, zoneAsked }: TierCounts): number {
  return zoneAsked === 0 ? 0 : zoneHits / zoneAsked;
}

/** True once the last window came from the zone to at least `ratio`. Sees the counts of every sample. */
function untilRatio(ratio: number, timeMaxMs: number): (since: TierCounts, ms: number) => boolean {
  const seen: { readonly since: TierCounts; readonly atMs: number }[] = [];
  return (since, atMs) => {
    seen.push({ since, atMs });
    while ((seen[1]?.atMs ?? Infinity) <= atMs - windowMs) seen.shift();
    const first = seen[0];
    if (atMs > timeMaxMs) return true;
    if (first === undefined || first.atMs > atMs - windowMs) return false;
    const lately = difference(since, first.since);
    return lately.zoneAsked > 0 && hitRatio(lately) >= ratio;
  };
}

function quantile(values: readonly number[], share: number): string {
  const sorted = values.toSorted((a, b) => a - b);
  const value = sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)];
  return value === undefined ? '–' : value.toFixed(0);
}

function rowOf(phase: PhaseReport): string[] {
  const { outcomes, elapsedMs } = phase;
  const failed = [...outcomes.failed].map(([why, count]) => `${count} ${why}`);
  return [
    phase.name,
    (elapsedMs / 1000).toFixed(1),
    String(outcomes.coldMs.length),
    String(outcomes.warm),
    quantile(outcomes.coldMs, 0.5),
    quantile(outcomes.coldMs, 0.99),
    String(outcomes.refusedMs.length),
    quantile(outcomes.refusedMs, 0.5),
    quantile(outcomes.refusedMs, 1),
    failed.length === 0 ? '0' : failed.join(', '),
    `${(hitRatio(phase) * 100).toFixed(1)} %`,
    String(phase.originReads),
    `${phase.originTakenMax} of ${phase.originPlaces}`,
  ];
}

const columns = [
  'phase',
  'seconds',
  'cold starts',
  'warm',
  'ms p50',
  'p99',
  'refused',
  'ms p50',
  'max',
  'failed',
  'from the zone',
  'from the origin',
  'origin places taken at most',
] as const;

export const report: Report = {
  title: 'The zone emptied under as many cold starts as are let in',
  run: async (args) => {
    const { values } = parseArgs({
      args: [...args],
      options: { quick: { type: 'boolean', default: false }, starts: { type: 'string' } },
    });
    const coldStartsMax = Number(values.starts ?? 16);
    const functionCount = values.quick ? 2 : 8;
    const ownBytes = values.quick ? 2 ** 21 : 6 * 2 ** 20;
    const measureMs = values.quick ? 5000 : 20_000;
    await using fleet = await openFleet({ functionCount, ownBytes, coldStartsMax, progress });
    const clients = Math.ceil(coldStartsMax * 1.5);
    await using pressure = new Pressure(fleet, clients);
    progress('filling the zone');
    await pressure.phase('filling', untilRatio(0.995, warmUpMaxMs));
    progress('as usual');
    const usual = await pressure.phase('as usual', (_, ms) => ms >= measureMs);
    progress('the zone is emptied');
    await fleet.emptyZone();
    const ratio = hitRatio(usual) - slack;
    const back = await pressure.phase('emptied, until as usual', untilRatio(ratio, recoveryMaxMs));
    progress('afterwards');
    const after = await pressure.phase('afterwards', (_, ms) => ms >= measureMs);
    const table: Table = {
      title:
        `${tenants.length * functionCount} functions, ${clients} clients, ${coldStartsMax} cold starts let in; ` +
        `back at the usual share from the zone (less ${slack * 100} points, over ${windowMs / 1000} s) after ${(back.elapsedMs / 1000).toFixed(1)} s`,
      columns,
      rows: [usual, back, after].map(rowOf),
    };
    return [table];
  },
};
