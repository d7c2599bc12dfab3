/**
 * What Thaw has behind the link: Ceph's gateway as its origin, and two zones of five memcached each, so that a worker with a full zone and
 * one with an empty one can take turns.
 */

import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';

import { MemcachedServer } from '../../src/cache/index.ts';
import { startMemcached, type Memcached } from '../../src/cache/testing/memcached.ts';
import { startRadosgw, type Radosgw } from '../../src/store/testing/radosgw.ts';
import type { PartOf } from './processor-time.ts';
import type { LinkTarget } from '../support/shaped-link.ts';

export const bucket = 'thaw-bench';
const serversAZone = 5;
/** All images of the benchmark fit. */
const memoryMebibytes = 768;

/** `primed`: filled with every image when it is published; `emptied`: before each start that uses it. */
export type ZoneName = 'primed' | 'emptied';
const zoneNames = ['primed', 'emptied'] as const satisfies readonly ZoneName[];

export class ThawServers implements AsyncDisposable {
  readonly radosgw: Radosgw;
  readonly #zones: ReadonlyMap<ZoneName, readonly Memcached[]>;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    radosgw: Radosgw,
    zones: ReadonlyMap<ZoneName, readonly Memcached[]>,
    stack: AsyncDisposableStack,
  ) {
    this.radosgw = radosgw;
    this.#zones = zones;
    this.#stack = stack;
  }

  static async start(): Promise<ThawServers> {
    await using made = new AsyncDisposableStack();
    const radosgw = await startRadosgw();
    made.defer(() => radosgw.stop());
    const zones = new Map<ZoneName, readonly Memcached[]>();
    for (const name of zoneNames) {
      const servers: Memcached[] = [];
      for (let at = 0; at < serversAZone; at += 1) {
        servers.push(made.use(await startMemcached({ memoryMebibytes })));
      }
      zones.set(name, servers);
    }
    await makeBucket(radosgw);
    return new ThawServers(radosgw, zones, made.move());
  }

  /** What the link must lead to: `origin`, and the servers of the zones. */
  get targets(): readonly LinkTarget[] {
    const origin = { name: 'origin', port: Number(new URL(this.radosgw.endpoint).port) };
    const servers = [...this.#zones].flatMap(([zone, members]) =>
      members.map(({ address: { port } }, at) => ({ name: `${zone}-${at}`, port })),
    );
    return [origin, ...servers];
  }

  /** As the configuration has them, reached through the link. */
  zoneServers(zone: ZoneName, portOf: (target: string) => number): readonly string[] {
    return Array.from(
      { length: serversAZone },
      (_, at) => `memcached://127.0.0.1:${portOf(`${zone}-${at}`)}`,
    );
  }

  readonly partOf: PartOf = (pid, commandLine) => {
    const isZone = [...this.#zones.values()].flat().some((server) => server.pid === pid);
    if (isZone) return 'zone';
    return /^(radosgw|ceph-osd|ceph-mon) -f -c \S*thaw-radosgw-/.test(commandLine)
      ? 'origin'
      : undefined;
  };

  async empty(zone: ZoneName): Promise<void> {
    const request = { signal: new AbortController().signal, priority: 'foreground' } as const;
    for (const { address } of this.#zones.get(zone) ?? []) {
      const server = new MemcachedServer({ address });
      await server.flush(request);
      await server.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

async function makeBucket({ endpoint, credentials }: Radosgw): Promise<void> {
  const client = new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
}
