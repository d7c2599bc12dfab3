/** Holder and agent of the benchmark: `node agent-process.ts holder|agent SETTINGS`, a file of JSON. */

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { createLog, present } from '../../src/base/index.ts';
import { MemcachedServer, openWorkerCaches } from '../../src/cache/index.ts';
import { createOpenPool, openManifest } from '../../src/chunk/index.ts';
import { runAgent, runHolder, type ImageRef, type ProfileStore } from '../../src/device/index.ts';
import { openLocalKeyring } from '../../src/keys/index.ts';
import {
  manifestObjectName,
  openS3Store,
  chunkObjectName,
  startProfileObjectName,
  type ObjectStore,
} from '../../src/store/index.ts';
import type { ZoneServerPlace } from '../tiers/zone.ts';

export interface AgentSetting {
  readonly runDir: string;
  /** Of the origin, through the link. */
  readonly originPort: number;
  /** What the origin serves. */
  readonly objectsDir: string;
  readonly keyringPath: string;
  readonly zone: readonly ZoneServerPlace[];
  readonly memoryBytes: number;
  readonly keepsProfiles: boolean;
  readonly prefetchAtATime: number;
  readonly threads: number;
  /** Where to write a profile of the agent's processor time, by `--cpu-prof`. */
  readonly cpuProfileDir?: string;
}

/** In `objectsDir`; a part of objects' paths as S3 has them. */
export const bucket = 'bench';

export function holderArgs(settingPath: string): [string, ...string[]] {
  return [process.execPath, fileURLToPath(import.meta.url), 'holder', settingPath];
}

function profileName({ rootId, manifestId }: ImageRef): string {
  return startProfileObjectName(rootId, manifestId);
}

/** Written past the link: nobody waits for it. */
function profileStore(store: ObjectStore, { objectsDir }: AgentSetting): ProfileStore {
  const keep = async (name: string, bytes: Uint8Array): Promise<void> => {
    const path = join(objectsDir, bucket, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
  };
  return {
    fetch: async (image) => store.get(profileName(image)),
    replace: async (image, sealed) => keep(profileName(image), sealed),
    keepChunk: async ({ rootId }, digestHex, ciphertext) =>
      keep(chunkObjectName(rootId, digestHex), ciphertext),
  };
}

async function serve(setting: AgentSetting): Promise<void> {
  const log = createLog({ level: 'warn' });
  const keys = await openLocalKeyring(setting.keyringPath);
  await using store = await openS3Store({
    bucket,
    endpoint: `http://127.0.0.1:${setting.originPort}`,
    credentials: async () => ({ accessKeyId: 'bench', secretAccessKey: 'bench' }),
  });
  await using opener = createOpenPool();
  const ports = new Map(setting.zone.map(({ id, port }) => [id, port]));
  await using caches = await openWorkerCaches({
    store,
    opener,
    log,
    zoneSettings: async () => ({
      servers: setting.zone.map((server) => ({ ...server, usesTls: false })),
      connect: ({ id }) => {
        const port = present(ports.get(id), `port of "${id}"`);
        return new MemcachedServer({ address: { host: '127.0.0.1', port }, id });
      },
    }),
  });
  await runAgent({
    runDir: setting.runDir,
    manifests: {
      fetch: async ({ rootId, manifestId }) =>
        present(await store.get(manifestObjectName(rootId, manifestId)), 'a manifest'),
      open: async ({ tenant, manifestId }, sealed) =>
        openManifest(sealed, { tenant, keyService: keys, manifestId }),
    },
    ...(setting.keepsProfiles && { profiles: { store: profileStore(store, setting), keys } }),
    caches,
    memoryBytes: setting.memoryBytes,
    prefetchAtATime: setting.prefetchAtATime,
    workerCount: setting.threads,
    readDeadlineMs: 60_000,
    log,
  });
}

async function main(role: string, settingPath: string): Promise<void> {
  const setting = JSON.parse(await readFile(settingPath, 'utf8')) as AgentSetting;
  if (role === 'agent') {
    await serve(setting);
    return;
  }
  const { cpuProfileDir, runDir } = setting;
  const profiling =
    cpuProfileDir === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${cpuProfileDir}`];
  await runHolder({
    runDir,
    agentCommand: [
      process.execPath,
      ...profiling,
      fileURLToPath(import.meta.url),
      'agent',
      settingPath,
    ],
    stopAtEndOfInput: true,
    log: createLog({ level: 'warn' }),
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [role = '', settingPath = ''] = process.argv.slice(2);
  await main(role, settingPath);
}
