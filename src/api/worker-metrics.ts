/** The state of a worker's caches and starts as metrics; `docs/metrics.md` lists them. */

import type {
  CacheStatus,
  DiskCacheStatus,
  LoaderStatus,
  SlabStatus,
  StartsStatus,
  Tier,
  ZoneNodeStatus,
  ZoneStatus,
} from '../cache/index.ts';
import type { StartLimitsSnapshot } from '../functions/index.ts';
import type { ApiRequests } from './lambda/request-counts.ts';
import { PrometheusText, type Sample } from './prometheus-text.ts';

/** Tiers as metrics name them. */
const tierNames: Readonly<Record<Tier, string>> = {
  l1: 'memory',
  'l1-disk': 'disk',
  l2: 'zone',
  origin: 'origin',
};

/** What a worker tells of itself. */
export interface WorkerState {
  /** Undefined: its agent does not run. */
  readonly caches: CacheStatus | undefined;
  /** Undefined: no function was used yet. */
  readonly starts: StartLimitsSnapshot | undefined;
  /** Undefined: it speaks no API. */
  readonly requests?: ApiRequests | undefined;
}

/** Metrics of a worker's caches, starts and API; of one whose agent does not run, that and no caches. */
export function workerMetrics({ caches, starts, requests }: WorkerState): string {
  const text = new PrometheusText().gauge(
    'thaw_agent_up',
    'Whether the agent that serves reads runs',
    [{ value: caches === undefined ? 0 : 1 }],
  );
  if (caches !== undefined) {
    addReads(text, caches);
    addLoader(text, caches.loader);
    addMemory(text, caches.memory);
    if (caches.starts !== undefined) addPrefetch(text, caches.starts);
    if (caches.disk.state === 'on') addDisk(text, caches.disk);
    if (caches.zone.state === 'on') addZone(text, caches.zone);
  }
  if (starts !== undefined) addStarts(text, starts);
  if (requests !== undefined) addRequests(text, requests);
  return text.toString();
}

function addRequests(text: PrometheusText, { answered, inFlight }: ApiRequests): void {
  text
    .counter(
      'thaw_api_requests_total',
      'Requests to the API, by operation and by the status of their answer',
      answered.map(({ operation, status, count }) => {
        return { labels: { operation, status: String(status) }, value: count };
      }),
    )
    .gauge('thaw_api_requests_in_flight', 'Requests to the API that are being answered', [
      { value: inFlight },
    ]);
}

function addStarts(text: PrometheusText, starts: StartLimitsSnapshot): void {
  text
    .counter('thaw_cold_starts_total', 'Cold starts of functions that were let in', [
      { value: starts.started },
    ])
    .gauge('thaw_cold_starts_in_flight', 'Cold starts under way', [{ value: starts.inFlight }])
    .gauge('thaw_cold_starts_max', 'Cold starts that may be under way at a time', [
      { value: starts.coldStartsMax },
    ])
    .counter(
      'thaw_invokes_refused_total',
      'Invokes refused, by the limit that they met',
      samplesOf(starts.refused, 'limit'),
    );
}

function samplesOf(values: Readonly<Record<string, number>>, label: string): readonly Sample[] {
  return Object.entries(values).map(([name, value]) => ({ labels: { [label]: name }, value }));
}

function addReads(text: PrometheusText, { memory, loader }: CacheStatus): void {
  const tiers = loader.tiers.map((reads) => ({ labels: { tier: tierNames[reads.tier] }, reads }));
  text
    .counter(
      'thaw_cache_reads_total',
      'Times that a tier was asked for a chunk, by how that ended; of memory: pieces of reads',
      [
        ...samplesOf({ hit: memory.hits, miss: memory.misses }, 'outcome').map(
          ({ labels, value }) => ({ labels: { tier: 'memory', ...labels }, value }),
        ),
        ...tiers.flatMap(({ labels, reads }) =>
          Object.entries(reads.outcomes).map(([outcome, value]) => ({
            labels: { ...labels, outcome },
            value,
          })),
        ),
      ],
    )
    .histogram(
      'thaw_cache_read_seconds',
      'From asking a tier for a chunk to its answer, waiting for a place included',
      tiers.flatMap(({ labels, reads }) =>
        Object.entries(reads.latency).map(([outcome, latency]) => ({
          labels: { ...labels, outcome },
          latency,
        })),
      ),
    )
    .counter(
      'thaw_cache_read_bytes_total',
      'Ciphertext of chunks that a tier gave and that were verified',
      tiers.map(({ labels, reads }) => ({ labels, value: reads.bytes })),
    )
    .gauge(
      'thaw_cache_reads_in_flight',
      'Chunks that a tier is being asked for',
      tiers.map(({ labels, reads }) => ({ labels, value: reads.inFlight })),
    );
}

function addLoader(text: PrometheusText, loader: LoaderStatus): void {
  const { hedges, originPlaces } = loader;
  text
    .counter(
      'thaw_cache_loads_total',
      'Chunks asked for that were not in memory',
      samplesOf(loader.loads, 'priority'),
    )
    .counter('thaw_cache_loads_joined_total', 'Loads that found one of their chunk under way', [
      { value: loader.joined },
    ])
    .counter('thaw_cache_load_deadlines_total', 'Loads that ended because their time was up', [
      { value: loader.deadlines },
    ])
    .counter('thaw_cache_hedges_total', 'Loads that asked the next tier because one was slow', [
      { value: hedges.started },
    ])
    .counter('thaw_cache_hedges_won_total', 'Hedges that were first with the chunk', [
      { value: hedges.won },
    ])
    .counter('thaw_cache_hedges_refused_total', 'Hedges not made, since too many had been', [
      { value: hedges.refused },
    ])
    .histogram('thaw_cache_open_seconds', 'Verifying and decrypting a chunk', [
      { latency: loader.open },
    ])
    .gauge('thaw_origin_places', 'Requests to the origin allowed at a time', [
      { value: originPlaces.total },
    ])
    .gauge('thaw_origin_places_taken', 'Requests to the origin under way', [
      { value: originPlaces.taken },
    ])
    .gauge('thaw_origin_waiting', 'Loads that wait for a place at the origin', [
      { value: originPlaces.waiting },
    ]);
}

function addMemory(text: PrometheusText, memory: SlabStatus): void {
  text
    .gauge('thaw_memory_bytes', 'Memory for decrypted chunks', [{ value: memory.bytesMax }])
    .gauge('thaw_memory_chunks', 'Chunks in memory', [{ value: memory.chunks }])
    .gauge('thaw_memory_slots', 'Chunks that there is room for in memory', [
      { value: memory.slotCount },
    ])
    .counter('thaw_memory_evictions_total', 'Chunks that gave way to others in memory', [
      { value: memory.evictions },
    ])
    .counter('thaw_memory_refused_total', 'Chunks not kept, as all of memory was being read', [
      { value: memory.refused },
    ]);
}

function addPrefetch(text: PrometheusText, { profiles, prefetched, waits }: StartsStatus): void {
  text
    .counter(
      'thaw_start_profiles_total',
      'Starts by what became of their profile: found, absent or unusable; learned, saved, unsaved',
      samplesOf(profiles, 'event'),
    )
    .counter('thaw_prefetched_chunks_total', 'Chunks loaded before they were asked for', [
      { value: prefetched.chunks },
    ])
    .counter('thaw_prefetched_bytes_total', 'The same in bytes', [{ value: prefetched.bytes }])
    .gauge('thaw_prefetched_unread_chunks', 'Of these, such as nobody has read so far', [
      { value: prefetched.unreadChunks },
    ])
    .counter('thaw_read_waits_total', 'Reads that waited for a chunk', [{ value: waits.reads }])
    .counter('thaw_read_wait_seconds_total', 'How long they waited in all', [
      { value: waits.totalMs / 1000 },
    ]);
}

function addDisk(text: PrometheusText, disk: DiskCacheStatus): void {
  text
    .gauge('thaw_disk_bytes', 'Chunks in the disk cache', [{ value: disk.bytes }])
    .gauge('thaw_disk_bytes_max', 'What the disk cache may hold', [{ value: disk.sizeMaxBytes }])
    .gauge('thaw_disk_chunks', 'Chunks in the disk cache', [{ value: disk.chunks }])
    .gauge('thaw_disk_queue_bytes', 'Chunks that wait to be written to disk', [
      { value: disk.queuedBytes },
    ])
    .gauge(
      'thaw_disk_writing',
      'Whether the disk cache is written to: not for a while after an error',
      [{ value: disk.suspendedBy === undefined ? 1 : 0 }],
    )
    .counter('thaw_disk_written_bytes_total', 'Chunks written to disk', [
      { value: disk.bytesWritten },
    ])
    .counter('thaw_disk_writes_total', 'Chunks written to disk', [{ value: disk.writes }])
    .counter('thaw_disk_evictions_total', 'Chunks that gave way to others on disk', [
      { value: disk.evictions },
    ])
    .counter('thaw_disk_forgotten_total', 'Corrupt copies removed from disk', [
      { value: disk.forgotten },
    ])
    .counter(
      'thaw_disk_dropped_total',
      'Chunks offered to the disk and not written, by why',
      samplesOf(
        {
          queue_full: disk.dropped.queueFull,
          suspended: disk.dropped.suspended,
          too_long: disk.dropped.tooLong,
        },
        'reason',
      ),
    )
    .counter(
      'thaw_disk_errors_total',
      'System errors of the disk cache',
      samplesOf({ read: disk.readErrors, write: disk.writeErrors }, 'operation'),
    );
}

function addZone(text: PrometheusText, zone: ZoneStatus): void {
  const { queueBytes, ...fills } = zone.fill;
  text
    .counter(
      'thaw_zone_stripes_total',
      'Stripes by what became of them',
      samplesOf(zone.stripes, 'event'),
    )
    .counter(
      'thaw_zone_fills_total',
      'Chunks offered to the zone, and what became of them',
      samplesOf(fills, 'event'),
    )
    .gauge('thaw_zone_fill_queue_bytes', 'Chunks that wait to be written to the zone', [
      { value: queueBytes },
    ])
    .gauge('thaw_zone_hedge_after_seconds', 'After this a load asks the origin, too', [
      { value: zone.hedgeAfterMs / 1000 },
    ]);
  addServers(text, zone.servers);
}

type OfServer<Value> = readonly [
  name: string,
  help: string,
  value: (server: ZoneNodeStatus) => Value,
];

const serverGauges: readonly OfServer<number>[] = [
  ['up', 'Whether the server is asked, not only probed', ({ state }) => (state === 'up' ? 1 : 0)],
  ['connections', 'Connections to the server', ({ connections }) => connections],
  [
    'outstanding',
    'Requests without an answer yet, abandoned ones included',
    ({ outstanding }) => outstanding,
  ],
  [
    'fill_queue_bytes',
    'Stripes that wait to be written to the server',
    ({ fillQueueBytes }) => fillQueueBytes,
  ],
];

const serverCounters: readonly OfServer<number>[] = [
  ['puts', 'Stripes that the server said it stored', ({ puts }) => puts],
  ['received_bytes', 'Bytes received from the server', ({ bytesReceived }) => bytesReceived],
  ['sent_bytes', 'Bytes sent to the server', ({ bytesSent }) => bytesSent],
  ['resets', 'Connections that broke or were given up', ({ resets }) => resets],
  ['probes', 'Tries whether the server is back', ({ probes }) => probes],
];

/** Counters with a second label, whose name comes first. */
const serverCountersBy: readonly (readonly [
  label: string,
  OfServer<Readonly<Record<string, number>>>,
])[] = [
  [
    'outcome',
    [
      'stripes',
      'What reads and repairs saw of the server',
      ({ used, lost, missing, corrupt, forged, unavailable, late, repaired }) => {
        return { used, lost, missing, corrupt, forged, unavailable, late, repaired };
      },
    ],
  ],
  ['outcome', ['gets', 'Answers to reads', ({ gets }) => ({ hit: gets.hits, miss: gets.misses })]],
  [
    'reason',
    [
      'unanswered',
      'Requests that ended without an answer',
      ({ abandoned, refused, errors }) => ({ abandoned, refused, error: errors }),
    ],
  ],
];

function addServers(text: PrometheusText, servers: readonly ZoneNodeStatus[]): void {
  const each = (value: (server: ZoneNodeStatus) => number): readonly Sample[] =>
    servers.map((server) => ({ labels: { server: server.id }, value: value(server) }));
  for (const [name, help, value] of serverGauges) {
    text.gauge(`thaw_zone_server_${name}`, help, each(value));
  }
  for (const [name, help, value] of serverCounters) {
    text.counter(`thaw_zone_server_${name}_total`, help, each(value));
  }
  for (const [label, [name, help, values]] of serverCountersBy) {
    const samples = servers.flatMap((server) =>
      samplesOf(values(server), label).map((sample) => {
        return { ...sample, labels: { server: server.id, ...sample.labels } };
      }),
    );
    text.counter(`thaw_zone_server_${name}_total`, help, samples);
  }
  text.histogram(
    'thaw_zone_server_read_seconds',
    'From asking the server for a stripe to its answer, where a read waited for it or listened to it',
    servers.map(({ id, latency }) => ({ labels: { server: id }, latency })),
  );
}
