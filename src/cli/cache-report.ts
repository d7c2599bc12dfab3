/** The state of a worker's caches, for people. */

import type { LatencySnapshot } from '../base/index.ts';
import type {
  CacheStatus,
  DiskCacheStatus,
  LoaderStatus,
  OptionalTier,
  SlabStatus,
  StartsStatus,
  Tier,
  TierReadStatus,
  ZoneNodeStatus,
  ZoneStatus,
} from '../cache/index.ts';
import { formatBytes, formatMs, formatTable } from './format.ts';

const names: Readonly<Record<Tier, string>> = {
  l1: 'memory',
  'l1-disk': 'disk',
  l2: 'zone',
  origin: 'origin',
};

type Column<Row> = readonly [title: string, cell: (row: Row) => string | number];

function tableOf<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const head = columns.map(([title]) => title);
  return formatTable(
    head,
    rows.map((row) => columns.map(([, cell]) => String(cell(row)))),
  );
}

/** A tier that is asked for chunks; of memory only hits and misses are known. */
type TierRow = Pick<TierReadStatus, 'tier'> & Partial<TierReadStatus>;

const tierColumns: readonly Column<TierRow>[] = [
  ['TIER', ({ tier }) => names[tier]],
  ['ASKED', (row) => askedCount(row)],
  ['HIT RATIO', (row) => ratio(row.outcomes?.hit ?? 0, askedCount(row))],
  ['HITS', ({ outcomes }) => outcomes?.hit ?? 0],
  ['MISSES', ({ outcomes }) => outcomes?.miss ?? 0],
  ['UNAVAILABLE', ({ outcomes }) => outcomes?.unavailable ?? 0],
  ['CORRUPT', ({ outcomes }) => outcomes?.corrupt ?? 0],
  ['TIMEOUTS', ({ outcomes }) => outcomes?.timeout ?? 0],
  ['FAILED', ({ outcomes }) => outcomes?.failed ?? 0],
  ['ABANDONED', ({ outcomes }) => outcomes?.abandoned ?? 0],
  ['IN FLIGHT', ({ inFlight }) => inFlight ?? '-'],
  ['READ', ({ bytes }) => (bytes === undefined ? '-' : formatBytes(bytes))],
  ['P50', ({ latency }) => durationOf(latency?.hit, 'p50Ms')],
  ['P99', ({ latency }) => durationOf(latency?.hit, 'p99Ms')],
  ['P99.9', ({ latency }) => durationOf(latency?.hit, 'p999Ms')],
];

const serverColumns: readonly Column<ZoneNodeStatus>[] = [
  ['SERVER', ({ id }) => id],
  ['STATE', ({ state }) => state],
  ['CONNECTIONS', ({ connections }) => connections],
  ['OUTSTANDING', ({ outstanding }) => outstanding],
  ['HITS', ({ gets }) => gets.hits],
  ['MISSES', ({ gets }) => gets.misses],
  ['RACED', ({ lost }) => lost],
  ['REPAIRED', ({ repaired }) => repaired],
  ['CORRUPT', ({ corrupt }) => corrupt],
  ['FORGED', ({ forged }) => forged],
  ['LATE', ({ late }) => late],
  ['ABANDONED', ({ abandoned }) => abandoned],
  ['REFUSED', ({ refused }) => refused],
  ['RESETS', ({ resets }) => resets],
  ['ERRORS', ({ errors }) => errors],
  ['RECEIVED', ({ bytesReceived }) => formatBytes(bytesReceived)],
  ['SENT', ({ bytesSent }) => formatBytes(bytesSent)],
  ['QUEUED', ({ fillQueueBytes }) => formatBytes(fillQueueBytes)],
  ['P50', ({ latency }) => durationOf(latency, 'p50Ms')],
  ['P99', ({ latency }) => durationOf(latency, 'p99Ms')],
  ['P99.9', ({ latency }) => durationOf(latency, 'p999Ms')],
];

/** Tables and lines; ends with a line end. */
export function cacheReport({ memory, disk, zone, loader, starts }: CacheStatus): string {
  const lines = [
    `memory: ${memoryLine(memory)}\n`,
    `disk: ${orOff(disk, 'cache.disk_bytes is 0', diskLine)}\n`,
    `zone: ${orOff(zone, 'zone.servers is empty', zoneLine)}\n`,
    `origin: ${originLine(loader)}\n`,
    `loads: ${loadsLine(loader)}\n`,
    `verifying and decrypting: ${latencyText(loader.open)}\n`,
    ...(starts === undefined ? [] : [`starts: ${startsLine(starts)}\n`]),
  ];
  return [
    tableOf(tierColumns, [memoryRow(memory), ...loader.tiers]),
    lines.join(''),
    ...(zone.state === 'on' ? [tableOf(serverColumns, zone.servers)] : []),
  ].join('\n');
}

function memoryRow({ hits, misses }: SlabStatus): TierRow {
  const others = { unavailable: 0, corrupt: 0, timeout: 0, failed: 0, abandoned: 0 };
  return { tier: 'l1', outcomes: { hit: hits, miss: misses, ...others } };
}

/** What was given up says nothing of the tier. */
function askedCount({ outcomes }: TierRow): number {
  if (outcomes === undefined) return 0;
  const { abandoned: _, ...answered } = outcomes;
  return Object.values(answered).reduce((sum, count) => sum + count, 0);
}

function ratio(hits: number, asked: number): string {
  return asked === 0 ? '-' : `${((100 * hits) / asked).toFixed(hits === asked ? 0 : 2)} %`;
}

function durationOf(
  latency: LatencySnapshot | undefined,
  quantile: 'p50Ms' | 'p99Ms' | 'p999Ms',
): string {
  return latency === undefined || latency.count === 0 ? '-' : durationText(latency[quantile]);
}

/** A hit in a cache may take some hundredths of a millisecond. */
function durationText(ms: number): string {
  return ms < 1 ? `${ms.toFixed(2)} ms` : formatMs(ms);
}

function latencyText(latency: LatencySnapshot): string {
  const { count, p50Ms, p99Ms, p999Ms } = latency;
  if (count === 0) return 'none yet';
  return `p50 ${durationText(p50Ms)}, p99 ${durationText(p99Ms)}, p99.9 ${durationText(p999Ms)}`;
}

function orOff<Status>(
  tier: OptionalTier<Status>,
  whyOff: string,
  line: (status: Status) => string,
): string {
  return tier.state === 'on' ? line(tier) : `off: ${tier.reason ?? whyOff}`;
}

function memoryLine({ chunks, slotCount, bytesMax, evictions, refused }: SlabStatus): string {
  const kept = `${chunks} of ${slotCount} chunks (${formatBytes(bytesMax)})`;
  return `${kept}, ${evictions} evicted, ${refused} not kept`;
}

function diskLine(disk: DiskCacheStatus): string {
  const { queueFull, suspended, tooLong } = disk.dropped;
  return [
    `${formatBytes(disk.bytes)} of ${formatBytes(disk.sizeMaxBytes)} in ${disk.chunks} chunks`,
    `${disk.evictions} evicted`,
    `${disk.writes} written`,
    `${formatBytes(disk.queuedBytes)} queued`,
    `${queueFull + suspended + tooLong} dropped`,
    `${disk.forgotten} corrupt`,
    `${disk.readErrors} read errors`,
    `${disk.writeErrors} write errors`,
    ...(disk.isIndexed ? [] : ['still being listed']),
    ...(disk.suspendedBy === undefined ? [] : [`not written to: ${disk.suspendedBy}`]),
  ].join(', ');
}

function zoneLine({ stripes, fill, hedgeAfterMs, servers }: ZoneStatus): string {
  const up = servers.filter(({ state }) => state === 'up').length;
  return [
    `${up} of ${servers.length} servers up`,
    `hedged after ${durationText(hedgeAfterMs)}`,
    `stripes: ${stripes.raced} raced, ${stripes.rebuilt} rebuilt, ${stripes.repaired} repaired, ${stripes.corrupt} corrupt`,
    `fills: ${fill.written} written of ${fill.offered} offered, ${fill.dropped} dropped, ${fill.failed} failed, ${formatBytes(fill.queueBytes)} queued`,
  ].join('; ');
}

function originLine({ originPlaces: { taken, total, waiting } }: LoaderStatus): string {
  return `${taken} of ${total} requests under way, ${waiting} waiting`;
}

function loadsLine({ loads, joined, searches, deadlines, hedges }: LoaderStatus): string {
  return [
    `${loads.foreground} foreground`,
    `${loads.prefetch} prefetch`,
    `${joined} joined another`,
    `${searches} under way`,
    `${deadlines} out of time`,
    `${hedges.started} hedged (${hedges.won} won, ${hedges.refused} more refused)`,
  ].join(', ');
}

function startsLine({ profiles, prefetched, waits }: StartsStatus): string {
  const { found, absent, unusable, saved, unsaved } = profiles;
  return [
    `${found} of ${found + absent + unusable} with a profile (${unusable} unusable)`,
    `${saved} profiles written, ${unsaved} not`,
    `${prefetched.chunks} chunks prefetched (${formatBytes(prefetched.bytes)}), ${prefetched.unreadChunks} of them unread`,
    `${waits.reads} reads waited, ${formatMs(waits.totalMs)} in all`,
  ].join('; ');
}
