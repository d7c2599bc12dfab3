/** Looks at this machine: what Thaw needs of it, what is there, and how to get the rest. */

import { access, constants, readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';

import { errorCode, errorMessage, present, programPath } from '../base/index.ts';
import { probeSandboxFeatures, probeSandboxRuntimes } from '../sandbox/index.ts';
import { pathsOf, type Config } from './config.ts';
import { openBucket } from './open-store.ts';

/** `missing`: what it is needed for does not work. `reduced`: it works, with less than the best. */
export type Health = 'ok' | 'reduced' | 'missing';

export interface Finding {
  readonly name: string;
  readonly health: Health;
  readonly detail: string;
  /** How to mend it; empty when there is nothing to mend. */
  readonly remedy: string;
  /** What does not work without it. */
  readonly neededFor: 'everything' | 'mounts and functions' | 'functions';
}

export interface Diagnosis {
  readonly findings: readonly Finding[];
  readonly canPublish: boolean;
  readonly canMount: boolean;
  readonly canRunFunctions: boolean;
}

/** Everything, with what else was found, as `thaw doctor` shows it. Starts a few programs to see whether they work. */
export async function diagnose(root: string, more: readonly Finding[] = []): Promise<Diagnosis> {
  const findings = [
    ...(await findingsOnMachine(root)),
    ...more,
    ...(await sandboxRuntimes()),
    ...sandboxFeatures(),
  ];
  const lacks = (...uses: readonly Finding['neededFor'][]): boolean =>
    findings.some(({ health, neededFor }) => health === 'missing' && uses.includes(neededFor));
  return {
    findings,
    canPublish: !lacks('everything'),
    canMount: !lacks('everything', 'mounts and functions'),
    canRunFunctions: !lacks('everything', 'mounts and functions', 'functions'),
  };
}

/**
 * One line for an error: what mounting lacks on this machine and how to get it; undefined if nothing. Cheap.
 */
export async function obstacleToMounts(root: string): Promise<string | undefined> {
  const missing = (await findingsOnMachine(root)).filter(({ health }) => health === 'missing');
  if (missing.length === 0) return undefined;
  return missing.map(({ name, detail, remedy }) => `${name}: ${detail} (${remedy})`).join('; ');
}

async function findingsOnMachine(root: string): Promise<readonly Finding[]> {
  return [
    nodeVersion(),
    kernelVersion(),
    await stateDirectory(root),
    superuser(),
    await device('/dev/fuse', 'load the "fuse" kernel module: modprobe fuse'),
    await device('/dev/loop-control', 'load the "loop" kernel module: modprobe loop'),
    await filesystem('fuse'),
    await filesystem('ext4'),
    program('flock', 'util-linux', 'everything'),
    program('mount', 'mount', 'mounts and functions'),
  ];
}

function nodeVersion(): Finding {
  const isRight = Number(process.versions.node.split('.')[0]) >= 24;
  return {
    name: 'Node.js',
    health: isRight ? 'ok' : 'missing',
    detail: process.version,
    remedy: isRight ? '' : 'start Thaw through bin/thaw, which brings Node 24',
    neededFor: 'everything',
  };
}

/** FUSE requests must be repeatable for an agent that takes over: in Linux since 6.9. */
function kernelVersion(): Finding {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const isNewEnough = major > 6 || (major === 6 && minor >= 9);
  return {
    name: 'Linux',
    health: isNewEnough ? 'ok' : 'missing',
    detail: release(),
    remedy: isNewEnough ? '' : 'use Linux 6.9 or newer',
    neededFor: 'mounts and functions',
  };
}

async function stateDirectory(root: string): Promise<Finding> {
  const finding = { name: 'state directory', neededFor: 'everything' } as const;
  // It is made on first use: what counts is its nearest ancestor that exists.
  for (let at = root; ; at = join(at, '..')) {
    try {
      await access(at, constants.W_OK);
      return { ...finding, health: 'ok', detail: root, remedy: '' };
    } catch (thrown) {
      const isAbsent = errorCode(thrown) === 'ENOENT';
      if (isAbsent && at !== '/') continue;
      const remedy = 'choose another with --root or THAW_ROOT, or run as root';
      return { ...finding, health: 'missing', detail: errorMessage(thrown), remedy };
    }
  }
}

/** Whether the origin can be read and written; reading is all that a worker needs which publishes nothing. */
export async function checkStore(config: Config): Promise<Finding> {
  const finding = { name: 'store', neededFor: 'everything' } as const;
  const remedy = 'correct "store" in the configuration: docs/stores.md';
  let place = pathsOf(config).store;
  let health: Health = 'missing';
  try {
    await using bucket = await openBucket(config);
    if (bucket !== undefined) {
      place = present(config.storeUrl, 'the URL of a bucket');
      await bucket.checkReads();
      health = 'reduced';
      await bucket.checkWrites();
    }
    return { ...finding, health: 'ok', detail: place, remedy: '' };
  } catch (thrown) {
    return { ...finding, health, detail: errorMessage(thrown), remedy };
  }
}

function superuser(): Finding {
  const isRoot = process.getuid?.() === 0;
  return {
    name: 'superuser',
    health: isRoot ? 'ok' : 'missing',
    detail: isRoot ? 'running as root' : `running as user ${process.getuid?.()}`,
    remedy: isRoot ? '' : 'run as root, e.g. with sudo',
    neededFor: 'mounts and functions',
  };
}

async function device(path: string, remedy: string): Promise<Finding> {
  const finding = { name: path, neededFor: 'mounts and functions' } as const;
  try {
    await access(path, constants.R_OK | constants.W_OK);
    return { ...finding, health: 'ok', detail: 'can be opened', remedy: '' };
  } catch (thrown) {
    const isForbidden = errorCode(thrown) === 'EACCES';
    return {
      ...finding,
      health: 'missing',
      detail: isForbidden ? 'may not be opened by this user' : 'is not there',
      remedy: isForbidden ? 'run as root, e.g. with sudo' : remedy,
    };
  }
}

/** A filesystem that is not listed may still be a module that loads on first use: that only reduces. */
async function filesystem(name: string): Promise<Finding> {
  const known = await readFile('/proc/filesystems', 'utf8').catch(() => '');
  const isKnown = known.split('\n').some((line) => line.split('\t')[1] === name);
  return {
    name: `${name} filesystem`,
    health: isKnown ? 'ok' : 'reduced',
    detail: isKnown ? 'in the kernel' : 'not loaded yet',
    remedy: isKnown ? '' : `modprobe ${name}`,
    neededFor: 'mounts and functions',
  };
}

function program(name: string, debianPackage: string, neededFor: Finding['neededFor']): Finding {
  const finding = { name, neededFor };
  const path = programPath(name);
  if (path !== undefined) return { ...finding, health: 'ok', detail: path, remedy: '' };
  const remedy = `install the package "${debianPackage}"`;
  return { ...finding, health: 'missing', detail: 'not on PATH', remedy };
}

/** One usable runtime is enough, so an unusable one is missing only where none is usable. */
async function sandboxRuntimes(): Promise<readonly Finding[]> {
  const probes = await probeSandboxRuntimes();
  const unusable: Health = probes.some(({ usable }) => usable) ? 'reduced' : 'missing';
  return probes.map(({ runtime, usable, version, isolation, reason }) => ({
    name: `sandbox: ${runtime}`,
    health: usable ? (isolation === 'full' ? 'ok' : 'reduced') : unusable,
    detail: usable ? `${version ?? ''} isolation ${isolation}`.trim() : 'cannot be used',
    remedy: reason ?? '',
    neededFor: 'functions',
  }));
}

/** None is needed by all functions. */
function sandboxFeatures(): readonly Finding[] {
  return probeSandboxFeatures().map(({ name, isThere, detail, remedy }) => ({
    name: `sandbox: ${name}`,
    health: isThere ? 'ok' : 'reduced',
    detail,
    remedy,
    neededFor: 'functions',
  }));
}
