/**
 * A shaped link between this process and servers: each server is reached through a port of the link, and all of them share its
 * bandwidth, one bucket a direction, and its delay, as a worker's one network card does. The link is a process of its own, so
 * that it and what is measured do not wait for each other's event loop.
 */

import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

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
  | { readonly do: 'processor time' };

/** The first message to the link's process. */
export interface LinkBeginning {
  readonly shape: LinkShape;
  readonly targets: readonly LinkTarget[];
}

/** Its answer: ports by name, once it listens. */
export type LinkPorts = Readonly<Record<string, number>>;

const program = fileURLToPath(new URL('./shaped-link-process.ts', import.meta.url));

export class ShapedLink implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #ports: LinkPorts;

  private constructor(child: ChildProcess, ports: LinkPorts) {
    this.#child = child;
    this.#ports = ports;
  }

  /** To servers on 127.0.0.1. */
  static async open(shape: LinkShape, targets: readonly LinkTarget[]): Promise<ShapedLink> {
    const child = fork(program, { serialization: 'advanced' });
    const beginning: LinkBeginning = { shape, targets };
    child.send(beginning);
    const [ports] = (await once(child, 'message')) as [LinkPorts];
    return new ShapedLink(child, ports);
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

  /** What the link's process has taken of the processors so far, ms. */
  async processorMs(): Promise<number> {
    return (await this.#tell({ do: 'processor time' })) as number;
  }

  /** What is on its way is lost. */
  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async #tell(command: LinkCommand): Promise<unknown> {
    const answered = once(this.#child, 'message');
    this.#child.send(command);
    const [answer] = (await answered) as [unknown];
    return answer;
  }
}
