/**
 * Creates sandboxes: checks the specification, prepares what all runtimes need alike (network
 * namespace with the Runtime API in it, root, files, control group), and has the runtime's launcher
 * start the process.
 *
 * Whatever is made for a sandbox is put on a stack with how to remove it, as soon as it exists; a
 * sandbox that fails half-way and one that is disposed of go the same way. What a killed worker
 * leaves is found by its directory, which is made first and removed last and names the worker.
 */

import { createHash } from 'node:crypto';
import { closeSync, realpathSync } from 'node:fs';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { isProcessAlive, present, processIdentity, silentLog, type Log } from '../base/index.ts';
import { canLimitSwap, Cgroup, detectCgroups, type CgroupLayout } from './cgroups.ts';
import type { ChildEnd } from './child-reaper.ts';
import { checkEntrypoint } from './entrypoint.ts';
import { SandboxRuntimeMissingError, SandboxSpecError } from './errors.ts';
import { resolveImageUser } from './image-user.ts';
import type { Launcher } from './launcher.ts';
import { createNetworkNamespace } from './network-namespace.ts';
import { ociLauncher } from './oci-launcher.ts';
import { probeSandboxRuntimes } from './probe.ts';
import { statInRoot } from './root-files.ts';
import { RuntimeApiServer } from './runtime-api.ts';
import type { Sandbox, SandboxExit, SandboxFactory, SandboxSpec } from './sandbox.ts';
import { prepareRoot } from './sandbox-root.ts';
import { detachMount, pipe } from './syscalls.ts';
import { utilLinuxLauncher } from './util-linux-launcher.ts';

/** Where the Runtime API listens inside every sandbox, as in Lambda. */
export const runtimeApiAddress = '127.0.0.1:9001';
const runtimeApiPort = 9001;
/** Less does not hold the runtime's own start. */
const memoryMinBytes = 16 * 1024 * 1024;
/** A killed process may hang in the kernel, on a read of its root: then removal goes on and says so. */
const exitTimeoutMs = 10_000;
const tmpSizeMinBytes = 4096;
/** The kernel takes no quota below 1 ms, and its period is 100 ms. */
const cpusMin = 0.01;

export interface SandboxFactoryOptions {
  /** An absolute path; created when missing. Several processes may share it. */
  readonly stateDir: string;
  /** Default `auto`: runc, else crun, else util-linux; `factory.runtime` says which. */
  readonly runtime?: 'auto' | SandboxFactory['runtime'];
  readonly log?: Log;
}

/**
 * A factory of sandboxes for this machine. Removes what workers that are no more have left in
 * `stateDir`. Throws `ERR_SANDBOX_RUNTIME_MISSING` with the reason for each runtime.
 */
export async function createSandboxFactory(
  options: SandboxFactoryOptions,
): Promise<SandboxFactory> {
  const wanted = options.runtime ?? 'auto';
  const probes = (await probeSandboxRuntimes()).filter(
    ({ runtime }) => wanted === 'auto' || runtime === wanted,
  );
  const chosen = probes.find(({ usable }) => usable);
  if (chosen === undefined) {
    const reasons = probes.map(({ runtime, reason }) => `${runtime}: ${reason ?? 'unusable'}`);
    throw new SandboxRuntimeMissingError(wanted, reasons);
  }
  const log = options.log ?? silentLog;
  if (chosen.isolation !== 'full') {
    log.warn('Sandboxes are less isolated', {
      runtime: chosen.runtime,
      isolation: chosen.isolation,
    });
  }
  await sweepSandboxes(options.stateDir, log);
  const launcher = launcherOf(chosen.runtime);
  const machine = { layout: detectCgroups(), stateDir: options.stateDir };
  return {
    runtime: launcher.runtime,
    create: (spec, output) => createSandbox(launcher, machine, spec, output),
  };
}

function launcherOf(runtime: SandboxFactory['runtime']): Launcher {
  return runtime === 'util-linux' ? utilLinuxLauncher() : ociLauncher(runtime);
}

interface Machine {
  readonly layout: CgroupLayout;
  readonly stateDir: string;
}

/**
 * Kills and removes the sandboxes in `stateDir` whose worker has ended without removing them.
 * Leaves those of living workers alone. Returns their ids. Throws `ERR_SANDBOX_REMOVE` when one
 * cannot be removed.
 */
export async function sweepSandboxes(stateDir: string, log: Log = silentLog): Promise<string[]> {
  const root = sandboxesDirectory(stateDir);
  await mkdir(root, { recursive: true, mode: 0o700 });
  const layout = detectCgroups();
  const swept: string[] = [];
  for (const name of await readdir(root)) {
    const directory = join(root, name);
    const [owner = '', id = name] = name.split('.');
    if (await isProcessAlive(owner)) continue;
    log.info('Removing the sandbox of a worker that is gone', { id });
    await new Cgroup(layout, cgroupName(stateDir, id)).remove();
    try {
      detachMount(join(directory, 'root'));
    } catch {
      // It is a mount only where the image lacked a mount point.
    }
    await rm(directory, { recursive: true, force: true });
    swept.push(id);
  }
  return swept;
}

async function createSandbox(
  launcher: Launcher,
  { layout, stateDir }: Machine,
  spec: SandboxSpec,
  output: (data: Uint8Array) => void,
): Promise<Sandbox> {
  checkSpec(spec);
  const user = resolveImageUser(spec.rootPath, spec.user);
  if (statInRoot(spec.rootPath, spec.workingDir)?.isDirectory() === false) {
    throw new SandboxSpecError(`the working directory "${spec.workingDir}" is no directory`);
  }
  checkEntrypoint(spec);
  await using made = new AsyncDisposableStack();

  const directory = await makeOwnDirectory(stateDir, spec.id);
  made.defer(() => rm(directory, { recursive: true, force: true }));
  const root = await prepareRoot(spec.rootPath, spec.workingDir, directory);
  made.defer(() => root.release());
  const files = await writeFiles(spec, directory);

  const network = createNetworkNamespace(runtimeApiPort);
  made.defer(() => network.close());
  const runtimeApi = new RuntimeApiServer(spec.id);
  made.use(runtimeApi);
  await runtimeApi.listen({ fd: network.listenFd });

  const cgroup = new Cgroup(layout, cgroupName(stateDir, spec.id));
  made.defer(() => cgroup.remove());
  const { readFd, writeFd } = pipe();
  const outputEnd = readAll(readFd, output);
  const environment = environmentOf(spec, user.home);
  const { ended } = await launcher
    .start({
      spec,
      directory,
      rootPath: root.path,
      user,
      environment,
      networkNamespacePath: network.path,
      cgroup,
      cgroupName: cgroup.name,
      limitSwap: canLimitSwap(layout),
      files,
      outputFd: writeFd,
    })
    .finally(() => closeSync(writeFd));

  const exited = exitOf(ended, outputEnd, cgroup);
  const all = made.move();
  return {
    id: spec.id,
    runtimeApi,
    exited,
    kill: async () => cgroup.killMembers(),
    [Symbol.asyncDispose]: async () => {
      cgroup.killMembers();
      await Promise.race([exited, delay(exitTimeoutMs, undefined, { ref: false })]);
      await all.disposeAsync();
    },
  };
}

/**
 * How it ended, told once all its output has been handed on and before its control group can be
 * removed.
 */
async function exitOf(
  ended: Promise<ChildEnd>,
  outputEnd: Promise<void>,
  cgroup: Cgroup,
): Promise<SandboxExit> {
  const end = await ended;
  await outputEnd;
  return { ...end, outOfMemory: await cgroup.ranOutOfMemory() };
}

/**
 * Hands on what comes out of the pipe, whose end this takes over. Resolves when all writers have
 * closed it.
 */
function readAll(fd: number, output: (data: Uint8Array) => void): Promise<void> {
  return new Promise((resolve) => {
    const socket = new Socket({ fd, readable: true, writable: false });
    socket.on('data', (data: Buffer) => output(data));
    socket.once('error', () => socket.destroy());
    socket.once('close', () => resolve());
  });
}

function checkSpec(spec: SandboxSpec): void {
  const problem = problemOf(spec);
  if (problem !== undefined) throw new SandboxSpecError(problem);
}

function problemOf(spec: SandboxSpec): string | undefined {
  const { id, args, env, workingDir, memoryBytes, tmpSizeBytes, cpus } = spec;
  if (!/^[a-z0-9-]{1,64}$/.test(id)) return `"${id}" is not an id: use a-z, 0-9 and -`;
  if (args.length === 0) return 'the image names no command, and none was given';
  if (!workingDir.startsWith('/')) {
    return `the working directory "${workingDir}" is not an absolute path`;
  }
  const badName = Object.keys(env).find((name) => name === '' || /[=\0]/.test(name));
  if (badName !== undefined) return `"${badName}" cannot name a variable`;
  if ([...args, workingDir, ...Object.values(env)].some((text) => text.includes('\0'))) {
    return 'a command, a variable or the working directory holds a zero byte';
  }
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes < memoryMinBytes) {
    return `${memoryBytes} bytes of memory are less than ${memoryMinBytes}`;
  }
  if (!Number.isSafeInteger(tmpSizeBytes) || tmpSizeBytes < tmpSizeMinBytes) {
    return `${tmpSizeBytes} bytes of /tmp are less than ${tmpSizeMinBytes}`;
  }
  return cpus >= cpusMin ? undefined : `${cpus} CPUs are less than ${cpusMin}`;
}

function sandboxesDirectory(stateDir: string): string {
  return join(stateDir, 'sandboxes');
}

/** Its name tells from the first moment whose it is: a sweep by another worker may come at any. */
async function makeOwnDirectory(stateDir: string, id: string): Promise<string> {
  const owner = present(await processIdentity(process.pid), 'own identity');
  const directory = join(sandboxesDirectory(stateDir), `${owner}.${id}`);
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (thrown) {
    throw new SandboxSpecError(`"${id}" exists already, or its directory cannot be made`, thrown);
  }
  return directory;
}

/** Unique to the state directory, so that two of them on a machine do not meet. */
function cgroupName(stateDir: string, id: string): string {
  const hash = createHash('sha256').update(realpathSync(stateDir)).digest('hex');
  return `thaw-${hash.slice(0, 8)}-${id}`;
}

function environmentOf(spec: SandboxSpec, home: string): readonly string[] {
  const variables = { HOME: home, ...spec.env, AWS_LAMBDA_RUNTIME_API: runtimeApiAddress };
  return Object.entries(variables).map(([name, value]) => `${name}=${value}`);
}

/**
 * The files about the network that take the place of the image's, where it has them to be replaced.
 */
async function writeFiles(
  spec: SandboxSpec,
  directory: string,
): Promise<ReadonlyMap<string, string>> {
  const contents: Record<string, string> = {
    '/etc/hosts': `127.0.0.1 localhost ${spec.id}\n::1 localhost\n`,
    '/etc/hostname': `${spec.id}\n`,
    '/etc/resolv.conf': '# There are no name servers: a sandbox has no network but its loopback.\n',
  };
  const filesDirectory = join(directory, 'files');
  await mkdir(filesDirectory, { mode: 0o755 });
  const files = new Map<string, string>();
  for (const [target, content] of Object.entries(contents)) {
    if (statInRoot(spec.rootPath, target)?.isFile() !== true) continue;
    const source = join(filesDirectory, target.slice('/etc/'.length));
    await writeFile(source, content, { mode: 0o644 });
    files.set(target, source);
  }
  return files;
}
