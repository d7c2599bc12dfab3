/**
 * Creates one sandbox: checks the specification, prepares what all runtimes need alike (the Runtime
 * API, root, files, network, control group), and has the runtime's launcher start the process.
 *
 * Whatever is made for a sandbox is put on a stack with how to remove it, as soon as it exists; a
 * sandbox that fails half-way and one that is disposed of go the same way.
 */

import { rm } from 'node:fs/promises';
import { posix } from 'node:path';

import { errorMessage, present, type Log } from '../base/index.ts';
import { canLimitSwap } from './limits/cgroups.ts';
import { checkSpec } from './check-spec.ts';
import { SandboxExtensionError } from './errors.ts';
import { ExtendedSandbox, extensionProcess } from './extended-sandbox.ts';
import type { FunctionInfo } from './runtime-api/extension-registry.ts';
import { externalExtensions } from './runtime-api/external-extensions.ts';
import { isBelow } from './root/inside-path.ts';
import { lookUpProcess } from './root/look-up-process.ts';
import { mountPoints } from './launchers/oci-config.ts';
import {
  makePlace,
  runtimeApiPort,
  type Place,
  type PlaceMaker,
  type ReadyPlaces,
} from './place.ts';
import { RunningSandbox } from './running-sandbox.ts';
import { RuntimeApiServer } from './runtime-api/runtime-api.ts';
import { makeOwnDirectory } from './sandbox-directories.ts';
import { writeSandboxFiles } from './network/sandbox-files.ts';
import { hostLink, type SandboxNetworks } from './network/sandbox-network.ts';
import { prepareRoot } from './root/sandbox-root.ts';
import type { Sandbox, SandboxNetwork, SandboxSpec } from './sandbox.ts';

/** Where the Runtime API listens inside every sandbox with a network of its own, as in Lambda. */
export const runtimeApiAddress = `127.0.0.1:${runtimeApiPort}`;

/** What all sandboxes of a factory are made with. */
export interface Workshop extends PlaceMaker {
  readonly ready: ReadyPlaces;
  readonly networks: SandboxNetworks;
  /** For extensions to end. */
  readonly shutDownMs: number;
  readonly log: Log;
}

/** Throws what `SandboxFactory.create` does. */
export async function createSandbox(
  workshop: Workshop,
  asked: SandboxSpec,
  output: (data: Uint8Array) => void,
): Promise<Sandbox> {
  checkSpec(asked);
  // An image says where it works: `..` must not lead out of what is made for it on the host.
  const spec = { ...asked, workingDir: posix.normalize(asked.workingDir) };
  const { network = 'none' } = spec;
  const extensions = spec.startsExtensions === false ? [] : externalExtensions(spec.rootPath);
  await using made = new AsyncDisposableStack();
  const runtimeApi = new RuntimeApiServer(spec.id, { info: functionInfo(spec), extensions });
  made.use(runtimeApi);
  const address =
    network === 'host' ? `127.0.0.1:${await runtimeApi.listen({ port: 0 })}` : runtimeApiAddress;
  const runtime = lookUpProcess(spec, address);
  const main = extensions.length === 0 ? runtime : lookUpExtensions(spec, address, extensions);

  const directory = await makeOwnDirectory(workshop.stateDir, spec.id);
  made.defer(() => rm(directory, { recursive: true, force: true }));
  const root = await prepareRoot(spec.rootPath, neededDirectories(spec), directory);
  made.defer(() => root.release());
  const files = await writeSandboxFiles(
    spec,
    await workshop.networks.resolvConf(network),
    directory,
  );
  const binds = new Map([
    ...files,
    ...(spec.binds ?? []).map(({ source, target }) => [target, source] as const),
  ]);

  const place = made.use(await takePlace(workshop, spec.id, network));
  const { namespace, cgroup } = place;
  if (namespace !== undefined) await runtimeApi.listen({ fd: namespace.takeListener() });
  if (namespace !== undefined && network === 'nat') await workshop.networks.connect(namespace);
  if (network === 'host' && !place.launch.blocksMetadata) {
    workshop.log.warn('A sandbox in the host network can reach metadata services', { id: spec.id });
  }

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
    runtimeApiAddress: address,
    link: namespace ?? hostLink,
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

/** One that was got ready, if that will do. */
async function takePlace(workshop: Workshop, id: string, network: SandboxNetwork): Promise<Place> {
  const isIsolated = network !== 'host';
  const ready = isIsolated ? await workshop.ready.take() : undefined;
  return ready ?? (await makePlace(workshop, id, isIsolated));
}

/** Process 1 of a sandbox with extensions. Throws `ERR_SANDBOX_EXTENSION` where one of them cannot be run. */
function lookUpExtensions(
  spec: SandboxSpec,
  address: string,
  names: readonly string[],
): ReturnType<typeof lookUpProcess> {
  const found = names.map((name) => {
    try {
      return lookUpProcess({ ...spec, ...extensionProcess(spec, name) }, address);
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
