/**
 * The control groups of sandboxes: which layout the machine has, and one group a sandbox directly
 * below each root.
 *
 * With version 1 ("legacy") every controller has a hierarchy of its own, with version 2 ("unified")
 * one hierarchy has all; "hybrid" machines mount both and keep the controllers in version 1. A
 * sandbox's group has one name in all of them. The container runtime makes it and sets the limits,
 * or we do where there is none; looking at it, killing what is in it and removing it is always
 * ours, so that a sandbox that was only half made, or whose worker was killed, is removed the same
 * way as any other. Source: kernel Documentation/admin-guide/cgroup-v1, cgroup-v2.rst.
 */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';

import { errorCode } from '../../base/index.ts';
import { SandboxRemoveError } from '../errors.ts';

interface Hierarchy {
  readonly path: string;
  readonly version: 1 | 2;
  /**
   * As in the mount options of version 1 (`memory`, `cpu`, `name=systemd`); of version 2, what it
   * offers.
   */
  readonly controllers: readonly string[];
}

export interface CgroupLayout {
  readonly kind: 'unified' | 'hybrid' | 'legacy' | 'none';
  readonly hierarchies: readonly Hierarchy[];
}

export interface CgroupLimits {
  readonly memoryBytes: number;
  readonly cpus: number;
  readonly pidsMax: number;
}

/** The period of the CPU bandwidth controller, in microseconds: the kernel's default. */
export const cpuPeriodUs = 100_000;
const removeTimeoutMs = 10_000;
const freezeAttemptMs = 100;
const freezePauseMs = 10;

/** The layout of this machine as this process sees it. */
export function detectCgroups(
  mountInfo = readFileSync('/proc/self/mountinfo', 'utf8'),
): CgroupLayout {
  const hierarchies = mountInfo.split('\n').flatMap((line) => hierarchyOf(line));
  const has = (version: 1 | 2): boolean => hierarchies.some((one) => one.version === version);
  const kind = has(1) ? (has(2) ? 'hybrid' : 'legacy') : has(2) ? 'unified' : 'none';
  return { kind, hierarchies };
}

/**
 * Source: proc_pid_mountinfo(5): `id parent dev root MOUNTPOINT options … - TYPE source
 * SUPEROPTIONS`.
 */
function hierarchyOf(line: string): Hierarchy[] {
  const [before = '', after = ''] = line.split(' - ');
  const path = before.split(' ')[4];
  const [type, , options = ''] = after.split(' ');
  if (path === undefined) return [];
  if (type === 'cgroup') return [{ path, version: 1, controllers: options.split(',') }];
  if (type !== 'cgroup2') return [];
  const offered = tryRead(join(path, 'cgroup.controllers')) ?? '';
  return [{ path, version: 2, controllers: offered.trim().split(' ') }];
}

/** What has a controller's files; undefined where the kernel lacks it. */
function hierarchyWith(layout: CgroupLayout, controller: string): Hierarchy | undefined {
  return layout.hierarchies.find((hierarchy) => hierarchy.controllers.includes(controller));
}

/** The controllers without which sandboxes cannot be limited and that are not here. */
export function missingControllers(layout: CgroupLayout): readonly string[] {
  return ['memory', 'cpu', 'pids'].filter((name) => hierarchyWith(layout, name) === undefined);
}

/**
 * The hierarchies of version 1 that hold limits, as mount options (`cpu,cpuacct`); empty where
 * version 2 does.
 */
export function limitingOptions(layout: CgroupLayout): readonly string[] {
  const limiting = ['memory', 'cpu', 'pids'].flatMap((name) => hierarchyWith(layout, name) ?? []);
  const options = limiting
    .filter(({ version }) => version === 1)
    .map(({ controllers }) => controllers.filter((name) => name !== 'rw').join(','));
  return [...new Set(options)];
}

/**
 * What can stop a group's processes where they are: a controller of its own in version 1, part of
 * every group of version 2. Undefined where the kernel lacks it.
 */
function freezerOf(layout: CgroupLayout): Hierarchy | undefined {
  if (layout.kind === 'unified') return layout.hierarchies.find(({ version }) => version === 2);
  return hierarchyWith(layout, 'freezer');
}

/** True if groups can be frozen here. */
export function canFreeze(layout: CgroupLayout): boolean {
  return freezerOf(layout) !== undefined;
}

/** True if the kernel counts swap, so that a limit on it can be set. */
export function canLimitSwap(layout: CgroupLayout): boolean {
  const memory = hierarchyWith(layout, 'memory');
  // Version 2 offers it wherever swap is compiled in; the root group has no such file to look for.
  if (memory?.version === 2) return existsSync('/proc/swaps');
  return memory !== undefined && existsSync(join(memory.path, 'memory.memsw.limit_in_bytes'));
}

/** One sandbox's group. The object is a name: it need not exist. */
export class Cgroup {
  readonly name: string;
  readonly #layout: CgroupLayout;
  /** Rises with every change of mind about being frozen. */
  #freezes = 0;

  constructor(layout: CgroupLayout, name: string) {
    this.#layout = layout;
    this.name = name;
  }

  /** Makes the group, without limits yet; returns the files that a process joins it by. */
  make(): readonly string[] {
    const hierarchies = this.#limiting();
    for (const { path, version } of hierarchies) {
      if (version === 2) {
        writeFileSync(join(path, 'cgroup.subtree_control'), '+memory +cpu +pids');
      }
      mkdirSync(join(path, this.name));
    }
    return this.joinFiles();
  }

  /** Its directory in the hierarchy of version 2, made if need be; undefined where there is none. */
  makeUnified(): string | undefined {
    const unified = this.#layout.hierarchies.find(({ version }) => version === 2);
    if (unified === undefined) return undefined;
    const directory = join(unified.path, this.name);
    mkdirSync(directory, { recursive: true });
    return directory;
  }

  /** Once, of a group that has none: memory before memory and swap together. */
  setLimits(limits: CgroupLimits): void {
    for (const hierarchy of this.#limiting()) {
      for (const [file, value] of limitFiles(hierarchy, limits, canLimitSwap(this.#layout))) {
        writeFileSync(join(hierarchy.path, this.name, file), value);
      }
    }
  }

  /** What holds the limits, and what freezes. */
  #limiting(): ReadonlySet<Hierarchy> {
    const limiting = ['memory', 'cpu', 'pids'].map((name) => hierarchyWith(this.#layout, name));
    return new Set([...limiting, freezerOf(this.#layout)].filter((one) => one !== undefined));
  }

  /** The files that a process joins the group by, by writing its pid to them. */
  joinFiles(): readonly string[] {
    return this.#directories().map((path) => join(path, 'cgroup.procs'));
  }

  /** Pids, as this process sees them, of everything in the group. */
  memberPids(): ReadonlySet<number> {
    const texts = this.#directories().map((path) => tryRead(join(path, 'cgroup.procs')) ?? '');
    return new Set(texts.flatMap((text) => text.split('\n').filter(Boolean).map(Number)));
  }

  /**
   * SIGKILL to everything in the group, which then goes on if it was frozen: in version 1 frozen
   * processes do not even die. What forks meanwhile escapes; its pid namespace's init does not.
   */
  killMembers(): void {
    for (const pid of this.memberPids()) {
      if (pid === 0) continue; // a process outside of our own pid namespace
      try {
        process.kill(pid, 'SIGKILL');
      } catch (thrown) {
        if (errorCode(thrown) !== 'ESRCH') throw thrown;
      }
    }
    this.thaw();
  }

  /**
   * Stops everything in the group. Resolves once the kernel says that it has, or when `thaw`,
   * another `freeze` or the group's end overtakes it; at once where the kernel cannot.
   *
   * In version 1 a process that is about to become another program may never stop: it waits for
   * threads of its own to die, which have stopped before they could. So what has not stopped after
   * a while is let go on for a moment, and stopped again.
   */
  async freeze(): Promise<void> {
    this.#freezes += 1;
    const own = this.#freezes;
    while (own === this.#freezes) {
      if (!this.#writeFreezer('FROZEN', '1')) return;
      if (await this.#frozenWithin(freezeAttemptMs, () => own === this.#freezes)) return;
      if (own !== this.#freezes) return;
      this.#writeFreezer('THAWED', '0');
      await delay(freezePauseMs);
    }
  }

  /** Neither version tells anybody unasked; what runs elsewhere stops within microseconds. */
  async #frozenWithin(limitMs: number, isWanted: () => boolean): Promise<boolean> {
    const giveUpAt = performance.now() + limitMs;
    for (let waitMs = 0; isWanted(); waitMs = Math.min(waitMs * 2 + 1, 20)) {
      if (this.#isFrozenOrGone()) return true;
      if (performance.now() > giveUpAt) return false;
      if (waitMs === 0) await nextTurn();
      else await delay(waitMs);
    }
    return false;
  }

  /** Lets what was frozen go on; nothing where it was not, or is gone. */
  thaw(): void {
    this.#freezes += 1;
    this.#writeFreezer('THAWED', '0');
  }

  /** False where there is no such file. */
  #writeFreezer(inVersion1: string, inVersion2: string): boolean {
    const freezer = freezerOf(this.#layout);
    if (freezer === undefined) return false;
    const is1 = freezer.version === 1;
    const path = join(freezer.path, this.name, is1 ? 'freezer.state' : 'cgroup.freeze');
    try {
      writeFileSync(path, is1 ? inVersion1 : inVersion2, { flag: 'r+' });
      return true;
    } catch (thrown) {
      const code = errorCode(thrown);
      if (code === 'ENOENT' || code === 'ENODEV') return false;
      throw thrown;
    }
  }

  #isFrozenOrGone(): boolean {
    const freezer = freezerOf(this.#layout);
    if (freezer === undefined) return true;
    const is1 = freezer.version === 1;
    const path = join(freezer.path, this.name, is1 ? 'freezer.state' : 'cgroup.events');
    const text = tryRead(path);
    return text === undefined || (is1 ? text.trim() === 'FROZEN' : /^frozen 1$/m.test(text));
  }

  /** The most that was charged to the group at one time; undefined where it is not counted. */
  async memoryPeakBytes(): Promise<number | undefined> {
    const memory = hierarchyWith(this.#layout, 'memory');
    if (memory === undefined) return undefined;
    const file = memory.version === 2 ? 'memory.peak' : 'memory.max_usage_in_bytes';
    const text = await readFile(join(memory.path, this.name, file), 'utf8').catch(() => undefined);
    return text === undefined ? undefined : Number(text);
  }

  /** True once the kernel has ended a process of the group for want of memory. */
  async ranOutOfMemory(): Promise<boolean> {
    const memory = hierarchyWith(this.#layout, 'memory');
    if (memory === undefined) return false;
    const file = memory.version === 2 ? 'memory.events' : 'memory.oom_control';
    const text = await readFile(join(memory.path, this.name, file), 'utf8').catch(() => '');
    return /^oom_kill [1-9]/m.test(text);
  }

  /**
   * Kills what is in the group and removes it. Throws `ERR_SANDBOX_REMOVE` when it does not go
   * within 10 s.
   */
  async remove(): Promise<void> {
    const giveUpAt = performance.now() + removeTimeoutMs;
    for (const directory of this.#directories()) {
      for (let waitMs = 1; !(await removed(directory)); waitMs = Math.min(waitMs * 2, 50)) {
        if (performance.now() > giveUpAt) {
          throw new SandboxRemoveError(this.name, `the control group "${directory}"`);
        }
        this.killMembers();
        await delay(waitMs); // the kernel tells nobody when a group of version 1 empties
      }
    }
  }

  #directories(): string[] {
    return this.#layout.hierarchies
      .map((hierarchy) => join(hierarchy.path, this.name))
      .filter((directory) => existsSync(directory));
  }
}

/** In the order in which they must be written: memory before memory and swap together. */
function limitFiles(
  { version, controllers }: Hierarchy,
  { memoryBytes, cpus, pidsMax }: CgroupLimits,
  withSwap: boolean,
): [file: string, value: string][] {
  const quotaUs = Math.round(cpus * cpuPeriodUs);
  const files: [string, string][] = [];
  const isVersion2 = version === 2;
  if (controllers.includes('memory')) {
    files.push([isVersion2 ? 'memory.max' : 'memory.limit_in_bytes', String(memoryBytes)]);
    if (withSwap && isVersion2) files.push(['memory.swap.max', '0']);
    if (withSwap && !isVersion2) files.push(['memory.memsw.limit_in_bytes', String(memoryBytes)]);
  }
  if (controllers.includes('cpu')) {
    if (isVersion2) files.push(['cpu.max', `${quotaUs} ${cpuPeriodUs}`]);
    else files.push(['cpu.cfs_period_us', `${cpuPeriodUs}`], ['cpu.cfs_quota_us', `${quotaUs}`]);
  }
  if (controllers.includes('pids')) files.push(['pids.max', String(pidsMax)]);
  return files;
}

/** True once the directory is gone; false while something is in it. */
async function removed(directory: string): Promise<boolean> {
  try {
    await rmdir(directory);
    return true;
  } catch (thrown) {
    const code = errorCode(thrown);
    if (code === 'ENOENT') return true;
    if (code === 'EBUSY' || code === 'ENOTEMPTY') return false;
    throw thrown;
  }
}

function tryRead(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
