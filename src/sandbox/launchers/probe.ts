/**
 * Finds out which container runtimes can run sandboxes on this machine, and says what is missing
 * for the others.
 */

import { readFileSync } from 'node:fs';
import { release } from 'node:os';

import { errorMessage, programPath, runCommand } from '../../base/index.ts';
import {
  canFreeze,
  detectCgroups,
  missingControllers,
  type CgroupLayout,
} from '../limits/cgroups.ts';
import type { SandboxFactory } from '../sandbox.ts';
import { utilLinuxIsolation, utilLinuxPrograms } from './util-linux-launcher.ts';

export interface SandboxRuntimeProbe {
  readonly runtime: SandboxFactory['runtime'];
  readonly usable: boolean;
  readonly version?: string;
  /** `full`, or `reduced: ` and what is missing against runc. */
  readonly isolation: string;
  /** Why it is not usable, and how to get it. */
  readonly reason?: string;
}

/** In the order in which `auto` takes them. */
export async function probeSandboxRuntimes(): Promise<readonly SandboxRuntimeProbe[]> {
  const layout = detectCgroups();
  return [
    probeBuiltin(layout),
    await probeOci('runc', layout),
    await probeOci('crun', layout),
    await probeUtilLinux(layout),
  ];
}

/** What no runtime can do without. */
function commonObstacle(layout: CgroupLayout): string | undefined {
  if (process.platform !== 'linux') return 'sandboxes need Linux';
  if (process.geteuid?.() !== 0) return 'sandboxes need root: run as root';
  const missing = missingControllers(layout);
  if (missing.length === 0) return undefined;
  return `no control group controller for ${missing.join(', ')}: mount cgroup2 at /sys/fs/cgroup`;
}

/** Before runc and crun, which isolate no better and cost many times the processor time of a start. */
function probeBuiltin(layout: CgroupLayout): SandboxRuntimeProbe {
  const probe = { runtime: 'builtin', isolation: 'full' } as const;
  const reason = commonObstacle(layout) ?? builtinObstacle();
  return reason === undefined ? { ...probe, usable: true } : { ...probe, usable: false, reason };
}

/** pivot_root cannot leave an initial RAM filesystem, which has no mount below it. */
function builtinObstacle(): string | undefined {
  if (process.arch !== 'x64') return 'only for x86-64: use runc';
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (major < 6 || (major === 6 && minor < 3)) return 'needs Linux 6.3 or newer: use runc';
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' '));
  const root = mounts.findLast(([, , , , point]) => point === '/');
  return root?.includes('rootfs') === true
    ? 'the system runs from its initial RAM disk: use runc'
    : undefined;
}

async function probeOci(
  runtime: 'runc' | 'crun',
  layout: CgroupLayout,
): Promise<SandboxRuntimeProbe> {
  const unusable = { runtime, usable: false, isolation: 'full' };
  if (programPath(runtime) === undefined) {
    return { ...unusable, reason: `not on PATH: install the package "${runtime}"` };
  }
  let version: string;
  try {
    const { stdout } = await runCommand(runtime, ['--version'], { timeoutMs: 10_000 });
    version = /version (\S+)/.exec(stdout)?.[1] ?? 'unknown';
  } catch (thrown) {
    return { ...unusable, reason: errorMessage(thrown) };
  }
  const layoutObstacle =
    runtime === 'crun' && layout.kind !== 'unified'
      ? `it sets no limits with a ${layout.kind} control group layout: use runc, ` +
        'or boot with systemd.unified_cgroup_hierarchy=1'
      : undefined;
  const reason = commonObstacle(layout) ?? layoutObstacle;
  if (reason !== undefined) return { ...unusable, version, reason };
  return { runtime, usable: true, version, isolation: 'full' };
}

async function probeUtilLinux(layout: CgroupLayout): Promise<SandboxRuntimeProbe> {
  const unusable: SandboxRuntimeProbe = {
    runtime: 'util-linux',
    usable: false,
    isolation: utilLinuxIsolation,
  };
  const missing = utilLinuxPrograms.filter((program) => programPath(program) === undefined);
  if (missing.length > 0) {
    const howToGet = 'install util-linux, mount, hostname and coreutils';
    return { ...unusable, reason: `no ${missing.join(', ')} on PATH: ${howToGet}` };
  }
  const { stdout } = await runCommand('unshare', ['--version'], { timeoutMs: 10_000 });
  const version = /util-linux (\S+)/.exec(stdout)?.[1];
  if (version === undefined) return { ...unusable, reason: '"unshare" is not that of util-linux' };
  const reason = commonObstacle(layout);
  if (reason !== undefined) return { ...unusable, version, reason };
  return { ...unusable, usable: true, version };
}

/** What sandboxes here can do or not, whichever runtime starts them. */
export interface SandboxFeature {
  readonly name: string;
  readonly isThere: boolean;
  /** What that means. */
  readonly detail: string;
  /** How to get it; empty where it is there. */
  readonly remedy: string;
}

/** Looks at the machine, starts nothing. */
export function probeSandboxFeatures(): readonly SandboxFeature[] {
  const layout = detectCgroups();
  const [isFreezable, nft] = [canFreeze(layout), programPath('nft')];
  const hasUnified = layout.hierarchies.some(({ version }) => version === 2);
  return [
    {
      name: 'freezer',
      isThere: isFreezable,
      detail: isFreezable ? 'in the kernel' : 'functions run on between invokes',
      remedy: isFreezable ? '' : 'mount cgroup2, or the freezer of version 1',
    },
    {
      name: 'nat',
      isThere: nft !== undefined,
      detail: nft ?? 'functions cannot have the network "nat"',
      remedy: nft === undefined ? 'install the package "nftables"' : '',
    },
    {
      name: 'metadata filter',
      isThere: hasUnified,
      detail: hasUnified ? 'cgroup2' : 'functions in the network "host" reach metadata services',
      remedy: hasUnified ? '' : 'mount cgroup2',
    },
  ];
}
