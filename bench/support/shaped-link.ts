/**
 * A shaped link between this process and servers: each server is reached through a port of the link, and all of them share its
 * bandwidth, one bucket a direction, and its delay, as a worker's one network card does. The link is a process of its own, so that it and
 * what is measured do not wait for each other's event loop, and a program in C (shaped-link/link.c), so that it takes next to nothing of the machine that
 * it is measured on. Needs gcc.
 */

import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

import { present } from '../../src/base/index.ts';
import { corpusDirectory } from '../corpus/index.ts';
import { compiled } from './shaped-link/program.ts';

export interface LinkShape {
  /** Infinity: none is taken. */
  readonly bitsPerSecond: number;
  /** One way. */
  readonly delayMs: number;
}

export const shapes = {
  '1 Gbit/s + 2 ms': { bitsPerSecond: 1e9, delayMs: 2 },
  '10 Gbit/s + 1 ms': { bitsPerSecond: 1e10, delayMs: 1 },
} as const satisfies Record<string, LinkShape>;

/** A server behind the link. */
export interface LinkTarget {
  /** Of letters, digits and hyphens. */
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

/** How long after it should have arrived a piece was handed on. */
export interface LinkLateness {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

type Answer = Readonly<Record<string, number>>;

export class ShapedLink implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  /** Of its output: one for itself and one for each command. */
  readonly #lines: AsyncIterator<string>;
  #ports: Answer = {};

  private constructor(program: string, args: readonly string[]) {
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** To servers on 127.0.0.1. `directory`: where its program is kept. */
  static async open(
    shape: LinkShape,
    targets: readonly LinkTarget[],
    directory = corpusDirectory,
  ): Promise<ShapedLink> {
    const program = await compiled('link', directory);
    const places = targets.map(({ name, port }) => `${name}=${port}`);
    const link = new ShapedLink(program, [...wordsOf(shape), ...places]);
    link.#ports = await link.#answer();
    return link;
  }

  /** Where the target is reached through the link, on 127.0.0.1. */
  portOf(name: string): number {
    return present(this.#ports[name], `port of "${name}"`);
  }

  /** For what is sent from now on; nothing may be on its way. Connections stay. */
  async shape(shape: LinkShape): Promise<void> {
    await this.#tell('shape', ...wordsOf(shape));
  }

  /** For what its target sends from now on. */
  async fault(name: string, fault: TargetFault): Promise<void> {
    const words = fault.kind === 'slow' ? [fault.kind, String(fault.extraDelayMs)] : [fault.kind];
    await this.#tell('fault', name, ...words);
  }

  /** Since the last call: what the link itself is wrong by. */
  async lateness(): Promise<LinkLateness> {
    const { p50Ms = NaN, p99Ms = NaN } = await this.#tell('lateness');
    return { p50Ms, p99Ms };
  }

  /** What the link's process has taken of the processors so far, user and system. Source: kernel Documentation/scheduler/sched-stats.rst. */
  async processorMs(): Promise<number> {
    const text = await readFile(`/proc/${this.#child.pid}/schedstat`, 'latin1');
    return Number(text.split(' ')[0]) / 1e6;
  }

  /** What is on its way is lost. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
  }

  async #tell(...words: readonly string[]): Promise<Answer> {
    this.#child.stdin.write(`${words.join(' ')}\n`);
    return await this.#answer();
  }

  async #answer(): Promise<Answer> {
    const line = await this.#lines.next();
    if (line.done === true) throw new Error('The link has ended');
    return JSON.parse(line.value) as Answer;
  }
}

/** As the program takes them. */
function wordsOf({ bitsPerSecond, delayMs }: LinkShape): readonly string[] {
  return [String(bitsPerSecond), String(delayMs)];
}
