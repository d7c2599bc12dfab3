import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import fc from 'fast-check';

import { silentLog } from '../base/index.ts';
import {
  ChunkSlab,
  MemcachedServer,
  openDiskCache,
  openWorkerCaches,
  type CacheStatus,
} from '../cache/index.ts';
import { sealChunk } from '../chunk/index.ts';
import type { StartLimitsSnapshot } from '../functions/index.ts';
import type { ApiRequests } from './lambda/request-counts.ts';
import { workerMetrics } from './worker-metrics.ts';
import { PrometheusText } from './prometheus-text.ts';

/** Debian's, whatever other Python comes first on the PATH. */
const python = '/usr/bin/python3';
const skip = existsSync('/usr/lib/python3/dist-packages/prometheus_client')
  ? false
  : 'needs python3-prometheus-client';

interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly [name: string, labels: Record<string, string>, value: string][];
}

const program = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families
families = text_string_to_metric_families(sys.stdin.read())
print(json.dumps([
  { 'name': f.name, 'type': f.type, 'help': f.documentation,
    'samples': [(s.name, s.labels, repr(s.value)) for s in f.samples] } for f in families ]))
`;

/** As Prometheus's own client library for Python reads it. */
function parse(text: string): readonly Family[] {
  const json = execFileSync(python, ['-c', program], { input: text, encoding: 'utf8' });
  return JSON.parse(json) as Family[];
}

const starts: StartLimitsSnapshot = {
  coldStartsMax: 16,
  coldStartsPerTenantMax: 12,
  inFlight: 1,
  inFlightByTenant: { acme: 1 },
  started: 7,
  refused: {
    instances_max: 0,
    instances_per_function_max: 1,
    reserved_concurrency: 0,
    unreserved_concurrency: 0,
    cold_starts_max: 2,
    cold_starts_per_tenant_max: 3,
    events_per_tenant_max: 0,
  },
};

const requests: ApiRequests = {
  inFlight: 1,
  answered: [{ operation: 'Invoke', status: 200, count: 3 }],
};

/** Of a worker with every tier, one of whose chunks was loaded from the origin. */
async function statusOfAllTiers(t: TestContext): Promise<CacheStatus> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-metrics-'));
  t.after(() => rm(path, { recursive: true }));
  const sealed = sealChunk(Buffer.alloc(4096, 7), Buffer.alloc(32, 1));
  assert.ok(sealed !== undefined);
  await using caches = await openWorkerCaches({
    store: { get: async () => sealed.ciphertext },
    openDisk: async () => openDiskCache({ path, sizeMaxBytes: 1e6, tryLock: () => true }),
    zoneSettings: async () => ({
      servers: [1, 2, 3, 4, 5].map((port) => {
        return { id: `127.0.0.1:${port}`, weight: 1, fillBytesPerSecond: 1e6, usesTls: false };
      }),
      // Nobody listens there.
      connect: ({ id }) => new MemcachedServer({ address: { host: '127.0.0.1', port: 1 }, id }),
    }),
    log: silentLog,
  });
  const chunk = { ...sealed, rootId: 'root', lengthMaxBytes: 4096 };
  assert.equal((await caches.loader.load(chunk, { deadlineMs: 60_000 })).tier, 'origin');
  const slab = new ChunkSlab({ memoryBytes: 4096, slotSizeBytes: 4096 });
  return {
    memory: slab.status,
    ...caches.status(),
    starts: {
      profiles: { found: 3, absent: 1, unusable: 0, learned: 4, saved: 1, unsaved: 0 },
      prefetched: { chunks: 90, bytes: 9e6, unreadChunks: 2 },
      waits: { reads: 12, totalMs: 80 },
    },
  };
}

test(
  'metrics are what another parser of them expects, and what docs/metrics.md lists',
  { skip },
  async (t) => {
    const state = { caches: await statusOfAllTiers(t), starts, requests };
    const families = parse(workerMetrics(state));
    const described = families.map(({ type, samples }) => {
      const [name = '', labels = {}] = samples.at(-1) ?? [];
      const base = type === 'histogram' ? name.replace(/_(count|sum|bucket)$/, '') : name;
      return `${base} ${Object.keys(labels).toSorted().join(' ')}`.trim();
    });
    const document = readFileSync(join(import.meta.dirname, '../../docs/metrics.md'), 'utf8');
    const documented = [...document.matchAll(/^\| `(thaw_\w+)` \|([^|]*)\|/gm)].map(
      ([, name = '', cell = '']) => {
        const labels = [...cell.matchAll(/`(\w+)`/g)].map(([, label = '']) => label);
        return `${name} ${labels.toSorted().join(' ')}`.trim();
      },
    );
    assert.deepEqual(described.toSorted(), documented.toSorted());
    for (const { name, type, help, samples } of families) {
      assert.ok(help.length > 0 && !help.endsWith('.'), name);
      assert.ok(samples.length > 0, name);
      const isTotal = samples.every(([sample]) => sample.endsWith('_total'));
      assert.equal(type === 'counter', isTotal, name);
      const places = samples.map(([sample, labels]) => JSON.stringify([sample, labels]));
      assert.equal(new Set(places).size, places.length, `${name} says something twice`);
    }
  },
);

test('the buckets of a histogram grow up to its count', { skip }, async (t) => {
  const families = parse(workerMetrics({ caches: await statusOfAllTiers(t), starts }));
  const reads = families.find(({ name }) => name === 'thaw_cache_read_seconds');
  const ofOrigin = (reads?.samples ?? []).filter(([, labels]) => labels['tier'] === 'origin');
  const buckets = ofOrigin.filter(([name]) => name.endsWith('_bucket'));
  const values = buckets.map(([, , value]) => Number(value));
  assert.deepEqual(
    values,
    values.toSorted((a, b) => a - b),
  );
  assert.equal(buckets.at(-1)?.[1]['le'], '+Inf');
  assert.equal(values.at(-1), 1);
  const count = ofOrigin.find(([name]) => name.endsWith('_count'));
  assert.equal(Number(count?.[2]), 1);
});

test('without an agent, metrics say so', { skip }, () => {
  const [up, ...others] = parse(workerMetrics({ caches: undefined, starts: undefined }));
  assert.deepEqual([up?.samples, others], [[['thaw_agent_up', {}, '0.0']], []]);
});

test('whatever a label holds arrives', { skip }, () => {
  const label = fc
    .string({ unit: 'grapheme', minLength: 1 })
    .filter((text) => !/[\p{Cc}\p{Zl}\p{Zp}]/u.test(text));
  const tricky = fc.constantFrom('a"b', String.raw`a\b`, 'a\nb', String.raw`\n`, '{x="y"} 1', '');
  fc.assert(
    fc.property(fc.array(fc.oneof(label, tricky), { minLength: 1, maxLength: 50 }), (values) => {
      const samples = values.map((value, index) => ({ labels: { value }, value: index }));
      const text = new PrometheusText().gauge('thaw_test', 'Help', samples).toString();
      const [family] = parse(text);
      assert.deepEqual(
        family?.samples.map(([, labels]) => labels['value']),
        values,
      );
    }),
    { numRuns: 10 },
  );
});
