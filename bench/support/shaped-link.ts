/**
 * A shaped link between this process and servers: each server is reached through a port of the link, and all of them share its
 * bandwidth, one bucket a direction, and its delay, as a worker's one network card does. The link runs in a thread of its own, so
 * that it and what is measured do not wait for each other's event loop.
 */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

import { present, type LatencySnapshot } from '../../src/base/index.ts';
import type { LinkShape } from './link-schedule.ts';

export type { LinkShape } from './link-schedule.ts';

export const shapes = {
  '1 Gbit/s + 2 ms': { bitsPerSecond: 1e9, delayMs: 2 },
  '10 Gbit/s + 1 ms': { bitsPerSecond: 1e10, delayMs: 1 },
} as const satisfies Record<string, LinkShape>;

/** A server behind the link. */
export interface LinkTarget {
  readonly name: string;
  readonly port: number;
}

/**
 * What is wrong with a target. `slow`: its answers start on their way so much later. `stopped`: nothing moves, connections stay.
 * `killed`: connections are reset and new ones too.
 */
export type TargetFault =
  | { readonly kind: 'none' | 'stopped' | 'killed' }
  | { readonly kind: 'slow'; readonly extraDelayMs: number };

export type LinkCommand =
  | { readonly do: 'shape'; readonly shape: LinkShape }
  | { readonly do: 'fault'; readonly name: string; readonly fault: TargetFault }
  | { readonly do: 'lateness' }
  | { readonly do: 'processor time' }
  | { readonly do: 'close' };

export interface LinkThreadData {
  readonly shape: LinkShape;
  readonly targets: readonly LinkTarget[];
}

/** Ports by name, once the thread listens. */
export type LinkThreadPorts = Readonly<Record<string, number>>;

export class ShapedLink implements AsyncDisposable {
  readonly #thread: Worker;
  readonly #ports: LinkThreadPorts;

  private constructor(thread: Worker, ports: LinkThreadPorts) {
    this.#thread = thread;
    this.#ports = ports;
  }

  /** To servers on 127.0.0.1. */
  static async open(shape: LinkShape, targets: readonly LinkTarget[]): Promise<ShapedLink> {
    const workerData: LinkThreadData = { shape, targets };
    const thread = new Worker(new URL('./shaped-link-thread.ts', import.meta.url), { workerData });
    const [ports] = (await once(thread, 'message')) as [LinkThreadPorts];
    return new ShapedLink(thread, ports);
  }

  /** Where the target is reached through the link, on 127.0.0.1. */
  portOf(name: string): number {
    return present(this.#ports[name], `port of "${name}"`);
  }

  /** For what is sent from now on; nothing may be on its way. */
  async shape(shape: LinkShape): Promise<void> {
    await this.#tell({ do: 'shape', shape });
  }

  /** For what its target sends from now on. */
  async fault(name: string, fault: TargetFault): Promise<void> {
    await this.#tell({ do: 'fault', name, fault });
  }

  /** How long after it should have arrived each piece was handed on, since the last call: what the link itself is wrong by. */
  async lateness(): Promise<LatencySnapshot> {
    return (await this.#tell({ do: 'lateness' })) as LatencySnapshot;
  }

  /** What the link's thread has taken so far, ms. */
  async processorMs(): Promise<number> {
    return (await this.#tell({ do: 'processor time' })) as number;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tell({ do: 'close' });
    await this.#thread.terminate();
  }

  async #tell(command: LinkCommand): Promise<unknown> {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#thread.postMessage(command);
    const [answer] = (await once(this.#thread, 'message')) as [unknown];
    return answer;
  }
}
