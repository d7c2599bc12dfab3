/** Five real memcached servers with extstore, and what happens to one of them. */

import { setTimeout as delay } from 'node:timers/promises';

import { present } from '../../src/base/index.ts';
import { fillBytesPerSecondOf, type ZoneMember } from '../../src/cache/index.ts';
import { startMemcached, type Memcached } from '../../src/cache/testing/memcached.ts';
import { ShapedLink, type LinkShape, type LinkTarget } from '../support/shaped-link.ts';

/** All that a bench keeps fits: a whole chunk is a value so large that memcached loses it rather than moves it to flash. */
const memoryMebibytes = 192;
const extstoreMebibytes = 1024;
const serverCount = 5;
export const slowMs = 100;

/** What one of the five servers does. */
export const conditions = ['healthy', 'slow', 'stopped', 'killed'] as const;
export type Condition = (typeof conditions)[number];

/** How servers are reached: by name, through the link or not. */
export interface ZoneServerPlace extends ZoneMember {
  readonly port: number;
}

export class BenchZone implements AsyncDisposable {
  readonly #servers: readonly Memcached[];
  readonly #link: ShapedLink | undefined;

  private constructor(servers: readonly Memcached[], link: ShapedLink | undefined) {
    this.#servers = servers;
    this.#link = link;
  }

  /** Without a shape the servers are reached directly. `beside`: what else shares the link. */
  static async start(shape?: LinkShape, beside: readonly LinkTarget[] = []): Promise<BenchZone> {
    await using started = new AsyncDisposableStack();
    const servers: Memcached[] = [];
    for (let at = 0; at < serverCount; at += 1) {
      servers.push(started.use(await startMemcached({ memoryMebibytes, extstoreMebibytes })));
    }
    const targets = servers.map(({ address: { port } }, at) => ({ name: nameOf(at), port }));
    const link =
      shape === undefined ? undefined : await ShapedLink.open(shape, [...targets, ...beside]);
    started.move();
    return new BenchZone(servers, link);
  }

  /** Names do not depend on ports, so that chunks lie alike in every run. */
  get places(): readonly ZoneServerPlace[] {
    return this.#servers.map(({ address }, at) => ({
      id: nameOf(at),
      weight: 1,
      fillBytesPerSecond: fillBytesPerSecondOf(memoryMebibytes * 2 ** 20),
      port: this.#link?.portOf(nameOf(at)) ?? address.port,
    }));
  }

  /** Where something beside the servers is reached through the link. */
  portOf(beside: LinkTarget): number {
    return this.#link?.portOf(beside.name) ?? beside.port;
  }

  /** What the link has taken of the processors so far. */
  async linkProcessorMs(): Promise<number> {
    return (await this.#link?.processorMs()) ?? 0;
  }

  get pids(): readonly number[] {
    return this.#servers.map(({ pid }) => present(pid, 'a running server'));
  }

  /** From `healthy` to something else. */
  async worsen(condition: Condition): Promise<void> {
    const server = present(this.#servers[0], 'a server');
    if (condition === 'slow') await this.#slow(slowMs);
    if (condition === 'stopped') server.pause();
    if (condition === 'killed') await server.kill();
  }

  /** Back to `healthy`. */
  async heal(condition: Exclude<Condition, 'killed'>): Promise<void> {
    const server = present(this.#servers[0], 'a server');
    if (condition === 'slow') {
      await delay(slowMs); // what it owes comes first
      await this.#slow(undefined);
    }
    if (condition === 'stopped') server.resume();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#link?.[Symbol.asyncDispose]();
    for (const server of this.#servers) await server[Symbol.asyncDispose]();
  }

  async #slow(extraDelayMs: number | undefined): Promise<void> {
    const fault =
      extraDelayMs === undefined
        ? ({ kind: 'none' } as const)
        : ({ kind: 'slow', extraDelayMs } as const);
    await this.#link?.fault(nameOf(0), fault);
  }
}

function nameOf(at: number): string {
  return `server-${at}`;
}
