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
import { realpathSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import {
  errorMessage,
  isProcessAlive,
  present,
  processIdentity,
  silentLog,
  type Log,
} from '../base/index.ts';
import { builtinLauncher } from './builtin-launcher.ts';
import { canFreeze, canLimitSwap, Cgroup, detectCgroups, type CgroupLayout } from './cgroups.ts';
import { checkSpec } from './check-spec.ts';
import { SandboxExtensionError, SandboxRuntimeMissingError, SandboxSpecError } from './errors.ts';
import { ExtendedSandbox, extensionProcess } from './extended-sandbox.ts';
import type { FunctionInfo } from './extension-registry.ts';
import { externalExtensions } from './external-extensions.ts';
import { isBelow } from './inside-path.ts';
import type { Launcher } from './launcher.ts';
import { lookUpProcess } from './look-up-process.ts';
import { createNetworkNamespace } from './network-namespace.ts';
import { mountPoints } from './oci-config.ts';
import { ociLauncher } from './oci-launcher.ts';
import { OutputPipe } from './output-pipe.ts';
import { ReadyPlaces, type Place } from './place.ts';
import { probeSandboxRuntimes } from './probe.ts';
import { RunningSandbox } from './running-sandbox.ts';
import { RuntimeApiServer } from './runtime-api.ts';
import { writeSandboxFiles } from './sandbox-files.ts';
import { prepareRoot } from './sandbox-root.ts';
import type { Sandbox, SandboxFactory, SandboxSpec } from './sandbox.ts';
import { detachMount } from './syscalls.ts';
import { utilLinuxLauncher } from './util-linux-launcher.ts';

/** Where the Runtime API listens inside every sandbox, as in Lambda. */
export const runtimeApiAddress = '127.0.0.1:9001';
const runtimeApiPort = 9001;
const noNameServers = '# There are no name servers: a sandbox has no network but its loopback.\n';

export interface SandboxFactoryOptions {
  /** An absolute path; created when missing. Several processes may share it. */
  readonly stateDir: string;
  /** Default `auto`: the first of `probeSandboxRuntimes` that is usable; `factory.runtime` says which. */
  readonly runtime?: 'auto' | SandboxFactory['runtime'];
  /** What external extensions, with the runtime, have to end in. Default: 2,000, as in Lambda. */
  readonly shutDownMs?: number;
  /**
   * Sandboxes to get ready ahead, as far as that is possible without knowing what they will run.
   * Default 0. With more, dispose of the factory.
   */
  readonly readyCount?: number;
  readonly log?: Log;
}

/**
 * A factory of sandboxes for this machine. Removes what workers that are no more have left in
 * `stateDir`. Throws `ERR_SANDBOX_RUNTIME_MISSING` with the reason for each runtime.
 */
export async function createSandboxFactory(
  options: SandboxFactoryOptions,
): Promise<SandboxFactory & AsyncDisposable> {
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
  const { stateDir, shutDownMs = 2000 } = options;
  const machine = { launcher, layout: detectCgroups(), stateDir, shutDownMs };
  const ready = new ReadyPlaces({
    count: options.readyCount ?? 0,
    make: () => makePlaceAhead(machine),
    log,
  });
  void ready.fill();
  return {
    runtime: launcher.runtime,
    canFreeze: canFreeze(machine.layout),
    create: async (spec, output) => {
      const sandbox = await createSandbox({ ...machine, ready }, spec, output);
      void ready.fill();
      return sandbox;
    },
    [Symbol.asyncDispose]: () => ready[Symbol.asyncDispose](),
  };
}

function launcherOf(runtime: SandboxFactory['runtime']): Launcher {
  if (runtime === 'builtin') return builtinLauncher();
  return runtime === 'util-linux' ? utilLinuxLauncher() : ociLauncher(runtime);
}

interface Machine {
  readonly launcher: Launcher;
  readonly layout: CgroupLayout;
  readonly stateDir: string;
  readonly shutDownMs: number;
}

interface Workshop extends Machine {
  readonly ready: ReadyPlaces;
}

let placesMade = 0;

/** A place that has no sandbox yet, in a directory by which it is swept. */
async function makePlaceAhead(machine: Machine): Promise<Place> {
  placesMade += 1;
  const name = `ready-${process.pid}-${placesMade}`;
  await using made = new AsyncDisposableStack();
  const directory = await makeOwnDirectory(machine.stateDir, name);
  made.defer(() => rm(directory, { recursive: true, force: true }));
  const place = made.use(await makePlace(machine, name));
  const all = made.move();
  return { ...place, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

async function makePlace({ launcher, layout, stateDir }: Machine, name: string): Promise<Place> {
  await using made = new AsyncDisposableStack();
  const network = createNetworkNamespace(runtimeApiPort);
  made.defer(() => network.close());
  const output = made.use(new OutputPipe());
  const cgroup = new Cgroup(layout, cgroupName(stateDir, name));
  made.defer(() => cgroup.remove());
  const launch = await launcher.prepare({
    networkNamespacePath: network.path,
    cgroup,
    outputFd: output.writeFd,
  });
  const all = made.move();
  return { network, output, cgroup, launch, [Symbol.asyncDispose]: () => all.disposeAsync() };
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
  workshop: Workshop,
  spec: SandboxSpec,
  output: (data: Uint8Array) => void,
): Promise<Sandbox> {
  checkSpec(spec);
  const runtime = lookUpProcess(spec, runtimeApiAddress);
  const extensions = spec.startsExtensions === false ? [] : externalExtensions(spec.rootPath);
  const main = extensions.length === 0 ? runtime : lookUpExtensions(spec, extensions);
  await using made = new AsyncDisposableStack();

  const directory = await makeOwnDirectory(workshop.stateDir, spec.id);
  made.defer(() => rm(directory, { recursive: true, force: true }));
  const root = await prepareRoot(spec.rootPath, neededDirectories(spec), directory);
  made.defer(() => root.release());
  const files = await writeSandboxFiles(spec, noNameServers, directory);
  const binds = new Map([
    ...files,
    ...(spec.binds ?? []).map(({ source, target }) => [target, source] as const),
  ]);

  const place = made.use((await workshop.ready.take()) ?? (await makePlace(workshop, spec.id)));
  const { network, cgroup } = place;
  const runtimeApi = new RuntimeApiServer(spec.id, { info: functionInfo(spec), extensions });
  made.use(runtimeApi);
  await runtimeApi.listen({ fd: network.takeListener() });

  const outputEnded = place.output.readTo(output);
  const launched = await place.launch.start({
    spec,
    process: { ...main, outputFd: place.output.writeFd },
    directory,
    rootPath: root.path,
    limitSwap: canLimitSwap(workshop.layout),
    binds,
  });
  place.output.closeOwn();
  const sandbox = new RunningSandbox({
    spec,
    runtimeApi,
    runtimeApiAddress,
    network,
    cgroup,
    launched,
    output,
    outputEnded,
    resources: made.move(),
  });
  if (extensions.length === 0) return sandbox;
  const { shutDownMs } = workshop;
  return new ExtendedSandbox({ spec, names: extensions, inner: sandbox, runtimeApi, shutDownMs });
}

/** Process 1 of a sandbox with extensions. Throws `ERR_SANDBOX_EXTENSION` where one of them cannot be run. */
function lookUpExtensions(
  spec: SandboxSpec,
  names: readonly string[],
): ReturnType<typeof lookUpProcess> {
  const found = names.map((name) => {
    try {
      return lookUpProcess({ ...spec, ...extensionProcess(spec, name) }, runtimeApiAddress);
    } catch (thrown) {
      throw new SandboxExtensionError(name, errorMessage(thrown), thrown);
    }
  });
  return present(found[0], 'first extension');
}

/** What Lambda tells extensions, from the variables that it gives the function. */
function functionInfo({ env, accountId }: SandboxSpec): FunctionInfo {
  return {
    functionName: env['AWS_LAMBDA_FUNCTION_NAME'] ?? '',
    functionVersion: env['AWS_LAMBDA_FUNCTION_VERSION'] ?? '',
    handler: env['_HANDLER'] ?? '',
    ...(accountId === undefined ? {} : { accountId }),
  };
}

/** All that the root must have: what is mounted there, and where the program is to be. */
function neededDirectories({ workingDir, binds = [] }: SandboxSpec): readonly string[] {
  const targets = binds.map(({ target }) => target);
  const isBound = targets.some((target) => isBelow(workingDir, target));
  return [...mountPoints, ...targets, ...(isBound ? [] : [workingDir])];
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
