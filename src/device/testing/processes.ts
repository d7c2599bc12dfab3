/**
 * Holder and agent as the tests run them: `node processes.ts holder|agent RUN_DIR ORIGIN_DIR`. The origin is a directory
 * whose misbehaviour the test sets in a file, and which writes down each fetch.
 */

import { appendFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { createLog, errorCode, type Log } from '../../base/index.ts';
import {
  MemcachedServer,
  openDiskCache,
  openWorkerCaches,
  parseMemcachedAddress,
  type WorkerCaches,
  type ZoneServerSetting,
} from '../../cache/index.ts';
import type { Manifest } from '../../chunk/index.ts';
import { openLocalKeyring } from '../../keys/index.ts';
import {
  chunkObjectName,
  manifestObjectName,
  startProfileObjectName,
  type ObjectStore,
} from '../../store/index.ts';
import { runAgent } from '../agent/agent.ts';
import type { ImageRef } from '../images/block-images.ts';
import { runHolder } from '../agent/holder.ts';
import type { ProfileStore } from '../starts/start-profiles.ts';
import { tryLockFile } from '../system-calls.ts';

/** How the origin behaves; `settings.json` in its directory, read anew at each fetch. */
export interface OriginSettings {
  /** Before each answer. */
  readonly delayMs?: number;
  /** Fetches never end, whatever signal they were given. */
  readonly isStalled?: boolean;
  readonly isFailing?: boolean;
}

/** `agent.json` in the origin's directory, read by holder and agent when they start. */
export interface AgentSettings {
  readonly memoryBytes: number;
  readonly readDeadlineMs: number;
  readonly exitWhenIdle: boolean;
  /** Of the holder. */
  readonly giveUpAfterMs: number;
  /** Of the disk cache. Default: none. */
  readonly diskDir?: string;
  /** Each at a port of 127.0.0.1. Default: no zone. */
  readonly zonePorts?: readonly number[];
  /** Start profiles, kept in the origin's directory and sealed by a keyring there. Default: none. */
  readonly keepsProfiles?: boolean;
  /** Agents end as soon as they have started. */
  readonly isBroken?: boolean;
}

/** The command that starts this file in a role. */
export function processCommand(
  role: 'holder' | 'agent',
  runDir: string,
  originDir: string,
): [string, ...string[]] {
  return [process.execPath, fileURLToPath(import.meta.url), role, runDir, originDir];
}

/** Manifests of the tests: JSON, with bytes as base64. The device room never looks inside a sealed one. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const { chunks, chunkKeys, imageDocument, ...rest } = manifest;
  return Buffer.from(
    JSON.stringify({
      ...rest,
      chunks: chunks.map((chunk) => ({
        ...chunk,
        ciphertextDigest: base64(chunk.ciphertextDigest),
      })),
      chunkKeys: chunkKeys.map(base64),
      imageDocument: base64(imageDocument),
    }),
  );
}

export function decodeManifest(sealed: Uint8Array): Manifest {
  return JSON.parse(Buffer.from(sealed).toString(), (_, value: unknown) =>
    typeof value === 'string' && value.startsWith(base64Mark)
      ? Buffer.from(value.slice(base64Mark.length), 'base64')
      : value,
  ) as Manifest;
}

const base64Mark = 'base64:';

function base64(bytes: Uint8Array): string {
  return base64Mark + Buffer.from(bytes).toString('base64');
}

async function readSettings<T>(dir: string, name: string): Promise<T> {
  return JSON.parse(await readFile(join(dir, name), 'utf8')) as T;
}

function originStore(originDir: string): Pick<ObjectStore, 'get'> {
  return {
    get: async (name) => {
      await appendFile(join(originDir, 'fetches.log'), `${name}\n`);
      const settings = await readSettings<OriginSettings>(originDir, 'settings.json');
      if (settings.isStalled === true) return new Promise(() => {});
      if (settings.isFailing === true) throw new Error('The origin was told to fail');
      if (settings.delayMs !== undefined) {
        await new Promise((resolve) => setTimeout(resolve, settings.delayMs));
      }
      return readFile(join(originDir, name)).catch((thrown: unknown) => {
        if (errorCode(thrown) === 'ENOENT') return undefined;
        throw thrown;
      });
    },
  };
}

async function openCaches(
  store: ObjectStore,
  { diskDir, zonePorts = [] }: AgentSettings,
  log: Log,
): Promise<WorkerCaches> {
  const sizeMaxBytes = 2 ** 30;
  return await openWorkerCaches({
    store,
    log,
    ...(diskDir !== undefined && {
      openDisk: async (reads) =>
        openDiskCache({ path: diskDir, sizeMaxBytes, tryLock: tryLockFile, reads }),
    }),
    zoneSettings: async () => ({
      servers: zonePorts.map(zoneServerAt),
      connect: ({ id }) =>
        new MemcachedServer({ address: parseMemcachedAddress(`memcached://${id}`) }),
    }),
  });
}

/** Where the origin keeps the profile of an image. */
export function profilePath(originDir: string, { rootId, manifestId }: ImageRef): string {
  return join(originDir, startProfileObjectName(rootId, manifestId));
}

function profileStore(originDir: string, store: Pick<ObjectStore, 'get'>): ProfileStore {
  return {
    fetch: async ({ rootId, manifestId }) => store.get(startProfileObjectName(rootId, manifestId)),
    replace: async (image, sealed) => {
      const path = profilePath(originDir, image);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(`${path}.new`, sealed);
      await rename(`${path}.new`, path);
    },
    keepChunk: async ({ rootId }, digestHex, ciphertext) => {
      await writeFile(join(originDir, chunkObjectName(rootId, digestHex)), ciphertext);
    },
  };
}

/** What an agent is told of a server of the zone. */
export function zoneServerAt(port: number): ZoneServerSetting {
  return { id: `127.0.0.1:${port}`, weight: 1, fillBytesPerSecond: 1e8, usesTls: false };
}

/** With which a holder of the tests ends that finds another at work. */
export const takenStatus = 8;

async function main(role: string, runDir: string, originDir: string): Promise<void> {
  const log = createLog({ level: 'warn' });
  const settings = await readSettings<AgentSettings>(originDir, 'agent.json');
  if (role === 'holder') {
    const agentCommand = processCommand('agent', runDir, originDir);
    const stopAtEndOfInput = process.stdin.constructor.name === 'Socket';
    const { giveUpAfterMs } = settings;
    const limits = { silenceMaxMs: 3000, giveUpAfterMs };
    await runHolder({ runDir, agentCommand, stopAtEndOfInput, ...limits, log }).catch(
      (thrown: unknown) => {
        if (errorCode(thrown) === 'ERR_DEVICE_HOLDER_RUNNING') process.exitCode = takenStatus;
        else if (errorCode(thrown) !== 'ERR_DEVICE_AGENT_FAILING') throw thrown;
      },
    );
    return;
  }
  if (settings.isBroken === true) return;
  const store = originStore(originDir) as ObjectStore;
  await runAgent({
    ...settings,
    runDir,
    manifests: {
      fetch: async ({ rootId, manifestId }) =>
        (await store.get(manifestObjectName(rootId, manifestId))) ?? new Uint8Array(),
      open: async (_, sealed) => decodeManifest(sealed),
    },
    caches: await openCaches(store, settings, log),
    ...(settings.keepsProfiles === true && {
      profiles: {
        store: profileStore(originDir, store),
        keys: await openLocalKeyring(join(originDir, 'keyring')),
      },
    }),
    log,
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [role = '', runDir = '', originDir = ''] = process.argv.slice(2);
  await main(role, runDir, originDir);
}
