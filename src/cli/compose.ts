/** Wires the rooms into a worker, after the configuration. The only place that knows all of them. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import {
  NoZoneError,
  createAccessKeys,
  createLocalWorker,
  registryImages,
  type AccessKeys,
  type LocalWorkerOptions,
  type Primer,
  type RegistryLogins,
  type ReloadZoneRequest,
  type Worker,
  type WorkerRuntime,
} from '../api/index.ts';
import { createCodeArchives } from '../archive/index.ts';
import { defined, errorCode, systemClock, type Log } from '../base/index.ts';
import { openZone } from '../cache/index.ts';
import { openCatalog, type Catalog } from '../catalog/index.ts';
import { createSealPool } from '../chunk/index.ts';
import { connectAgent, type AgentClient, type HolderCommand } from '../device/index.ts';
import { accountIds, createFunctionService, type FunctionService } from '../functions/index.ts';
import { openLocalKeyring } from '../keys/index.ts';
import {
  decodeImageDocument,
  openStoredManifest,
  type PublishDependencies,
} from '../publish/index.ts';
import { createRuntimeImages, type RuntimeImages } from '../runtimes/index.ts';
import { createSandboxFactory } from '../sandbox/index.ts';
import { checkMemory } from './check-memory.ts';
import { checkRunDir, codeMemoryBytes, pathsOf, settings, type Config } from './config.ts';
import { obstacleToMounts } from './doctor.ts';
import { defaultTenant } from './default-tenant.ts';
import { EnvironmentError, UsageError } from './errors.ts';
import { exitStatuses } from './exit-status.ts';
import { zoneSettings } from './open-caches.ts';
import { openStore } from './open-store.ts';
import { createOwnRoots } from './own-roots.ts';
import { makeStateDirectory } from './state-directory.ts';
import { thawCommand } from './thaw-command.ts';
import { zoneServerSettings, zoneServersProblem } from './zone-servers.ts';

/** For an agent that may be about to be replaced, when none need run. */
const agentTimeoutMs = 500;

/** Kept ready by a server; a command that starts one function has none to spare. */
const sandboxesReady = 2;

export type AgentLife = 'lasting' | 'while-used' | 'own';

export interface WorkerChoices {
  /**
   * `lasting`: the agent outlives this process while images are mounted, even if it is killed, as a server's must.
   * `while-used`: it ends when its last image is closed. `own`: it ends with this worker, and at the latest with
   * this process.
   */
  readonly agentLife: AgentLife;
}

/** The tenants' accounts, the same in every process of one configuration. */
export function accountIdsOf({ accountId }: Pick<Config, 'accountId'>): (tenant: string) => string {
  return accountIds({ accountId, defaultTenant });
}

/** A worker with what `thaw serve` needs of it besides. */
export interface ServedWorker extends Worker {
  readonly accessKeys: AccessKeys;
  readonly runtimes: RuntimeImages;
  /** Made on first use. Throws what is missing on this machine. */
  functions(): Promise<FunctionService>;
}

/** A worker in this process. Needs no privilege until a call mounts something. */
export async function createWorker(
  config: Config,
  log: Log,
  choices: WorkerChoices,
): Promise<ServedWorker> {
  const paths = pathsOf(config);
  await using made = new AsyncDisposableStack();
  await makeStateDirectory(config.root);
  await mkdir(paths.work, { recursive: true, mode: 0o700 });
  const catalog = made.use(await openCatalog(paths.catalog));
  const publish: PublishDependencies = {
    store: await openStore(config),
    keys: await openLocalKeyring(paths.keyring, { isInUse: (user) => isKeyUsed(catalog, user) }),
    catalog,
    sealer: made.use(createSealPool()),
    clock: systemClock,
    workDir: paths.work,
    log,
  };
  const runtimes = createRuntimeImages(publish);
  const accessKeys = createAccessKeys(publish);
  let runtime: Promise<Runtime> | undefined;
  let current = config;
  const startedRuntime = (): Promise<Runtime> => {
    runtime ??= createRuntime(() => current, log, choices, { publish, runtimes }).catch(
      (thrown: unknown) => {
        runtime = undefined; // what was missing may be there at the next call
        throw thrown;
      },
    );
    return runtime;
  };
  const stack = made.move();
  const worker = createLocalWorker({
    publish,
    runtimes,
    accessKeys,
    ownDirectories: [
      paths.store,
      paths.work,
      paths.logs,
      paths.overlays,
      paths.diskCache,
      paths.code,
      config.runDir,
    ],
    writableSpaceBytes: config.writableSpaceBytes,
    openPrimer: async () => await openPrimer(current),
    runningAgent: () => findAgent(paths.device),
    startedRuntime: async () => await runtime?.catch(() => undefined),
    reloadZone: async (request) => {
      current = withZone(current, request);
      const agent = await findAgent(paths.device);
      const { zoneServers, zoneFillBytesPerSecond } = current;
      await agent?.setZoneServers(zoneServerSettings(zoneServers, zoneFillBytesPerSecond));
      return { isAgentTold: agent !== undefined };
    },
    runtime: startedRuntime,
    close: async () => {
      const started = await runtime?.catch(() => undefined);
      await started?.[Symbol.asyncDispose]();
      await stack.disposeAsync();
    },
  });
  return {
    ...worker,
    runtimes,
    accessKeys,
    functions: async () => (await startedRuntime()).functions,
  };
}

/** Images need the keys of their tenant and root, zip archives and access keys their tenant's. */
async function isKeyUsed(
  catalog: Catalog,
  user: { readonly tenant: string } | { readonly rootId: string },
): Promise<boolean> {
  if (await catalog.hasImages(user)) return true;
  if ('rootId' in user) return false;
  const { tenant } = user;
  if ((await catalog.listFunctions(tenant, { itemsMax: 1 })).items.length > 0) return true;
  return (await catalog.listAccessKeys(tenant)).length > 0;
}

interface Runtime extends WorkerRuntime, AsyncDisposable {}

/** What mounts and runs; what was made of it ends in reverse order, also when the rest cannot be made. */
async function createRuntime(
  currentConfig: () => Config,
  log: Log,
  choices: WorkerChoices,
  { publish, runtimes }: Pick<LocalWorkerOptions, 'publish' | 'runtimes'>,
): Promise<Runtime> {
  await using made = new AsyncDisposableStack();
  const config = currentConfig();
  checkRunDir(config);
  checkMemory(config);
  const obstacle = await obstacleToMounts(config.root);
  if (obstacle !== undefined) {
    throw new EnvironmentError(`Cannot mount images or run functions here: ${obstacle}`);
  }
  const paths = pathsOf(config);
  const agent = await connectAgent({
    runDir: paths.device,
    spawn: holderCommand(currentConfig, choices.agentLife),
  });
  made.defer(() => endAgent(agent, choices.agentLife));
  const roots = await createOwnRoots({ agent, rootsDir: join(config.runDir, 'roots'), log });
  made.defer(() => roots.close());
  const sandboxes = made.use(
    await createSandboxFactory({
      stateDir: paths.sandboxes,
      runtime: config.sandboxRuntime,
      readyCount: choices.agentLife === 'lasting' ? sandboxesReady : 0,
      log,
    }),
  );
  const archives = made.use(
    createCodeArchives({
      store: publish.store,
      keys: publish.keys,
      activeRoot: () => publish.catalog.activeRoot(),
      directory: paths.code,
      memoryMaxBytes: codeMemoryBytes(config),
      diskMaxBytes: config.codeDiskBytes,
      log,
    }),
  );
  const functions = createFunctionService({
    archives,
    runtimes,
    catalog: publish.catalog,
    mounts: roots,
    sandboxes,
    imageDocument: async (image) =>
      decodeImageDocument((await openStoredManifest(publish, image)).imageDocument),
    images: registryImages({
      publish,
      plainHttpHosts: config.registryPlainHttp,
      loginsOf: (tenant) => registryLogins(config, tenant),
    }),
    logsDir: paths.logs,
    log,
    host: { region: config.region, accountIdOf: accountIdsOf(config) },
    limits: defined({
      idleTimeoutMs: config.idleTimeoutSeconds * 1000,
      instancesMax: config.instancesMax,
      instancesPerFunctionMax: config.instancesPerFunctionMax,
      eventsPerTenantMax: config.eventsPerTenantMax,
      eventInvokesMax: config.eventInvokesMax,
      eventInvokesPerTenantMax: config.eventInvokesPerTenantMax,
      coldStartsMax: config.coldStartsMax,
      coldStartsPerTenantMax: config.coldStartsPerTenantMax,
    }),
  });
  made.defer(() => functions.close());
  const stack = made.move();
  return { functions, roots, agent, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** The default tenant is whoever set this worker up; others fetch with no logins of his. */
function registryLogins(config: Config, tenant: string): RegistryLogins {
  if (tenant === defaultTenant) return { from: 'own' };
  const path = config.registryCredentialsFile;
  return path === undefined ? { from: 'nowhere' } : { from: 'file', path };
}

/** A lasting agent stays as long as images are mounted somewhere; then readers must not notice that we end. */
async function endAgent(agent: AgentClient, life: AgentLife): Promise<void> {
  if (life === 'while-used') return; // it ends by itself
  if (life === 'lasting' && (await agent.status()).images.length > 0) return;
  await agent.shutdown();
}

async function openPrimer(config: Config): Promise<Primer> {
  if (config.zoneServers.length === 0) throw new NoZoneError();
  const zone = openZone(await zoneSettings(config));
  return {
    primeChunk: async (chunk, ciphertext, options) => await zone.prime(chunk, ciphertext, options),
    [Symbol.asyncDispose]: () => zone.close(),
  };
}

/** Undefined if none runs. */
async function findAgent(runDir: string): Promise<AgentClient | undefined> {
  try {
    return await connectAgent({ runDir, connectTimeoutMs: agentTimeoutMs });
  } catch (thrown) {
    if (errorCode(thrown) === 'ERR_DEVICE_AGENT_UNREACHABLE') return undefined;
    throw thrown;
  }
}

function withZone(config: Config, { servers, fillBytesPerSecond }: ReloadZoneRequest): Config {
  const problem =
    zoneServersProblem(servers) ??
    settings['zone.fill_bytes_per_second']?.check(fillBytesPerSecond);
  if (problem !== undefined) throw new UsageError(`Cannot change the zone: it ${problem}`);
  return { ...config, zoneServers: servers, zoneFillBytesPerSecond: fillBytesPerSecond };
}

/** The configuration at the moment of starting a holder, who hands it on to all his agents. */
function holderCommand(config: () => Config, life: AgentLife): HolderCommand {
  const flags = { lasting: [], 'while-used': ['--exit-when-idle'], own: ['--stop-with-parent'] };
  return {
    get command() {
      return thawCommand(config(), ['holder', ...flags[life]]);
    },
    mode: life === 'own' ? 'child' : 'detached',
    takenStatus: exitStatuses.conflict.status,
  };
}
