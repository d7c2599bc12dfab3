/** `thaw agent`: answers the reads of the FUSE mount. */

import { createOpenPool, openManifest } from '../chunk/index.ts';
import { runAgent } from '../device/index.ts';
import { openLocalKeyring } from '../keys/index.ts';
import { ManifestMissingError } from '../publish/index.ts';
import { chunkObjectName, manifestObjectName, startProfileObjectName } from '../store/index.ts';
import { pathsOf } from './config.ts';
import type { CliContext } from './context.ts';
import { openCaches } from './open-caches.ts';
import { openStore } from './open-store.ts';

export interface AgentFlags {
  readonly exitWhenIdle?: boolean;
}

export async function serveReads(context: CliContext, options: AgentFlags): Promise<void> {
  const { config, log } = context;
  const paths = pathsOf(config);
  const store = await openStore(config);
  const keyService = await openLocalKeyring(paths.keyring);
  await using opener = createOpenPool();
  await using caches = await openCaches(config, { store, opener, log });
  await runAgent({
    runDir: paths.device,
    manifests: {
      fetch: async ({ rootId, manifestId }) => {
        const sealed = await store.get(manifestObjectName(rootId, manifestId));
        if (sealed === undefined) throw new ManifestMissingError(manifestId, rootId);
        return sealed;
      },
      open: async ({ tenant, manifestId }, sealed) =>
        await openManifest(sealed, { tenant, keyService, manifestId }),
    },
    profiles: {
      store: {
        fetch: async ({ rootId, manifestId }) =>
          await store.get(startProfileObjectName(rootId, manifestId)),
        replace: async ({ rootId, manifestId }, sealed) => {
          const name = startProfileObjectName(rootId, manifestId);
          await store.delete(name); // who reads in between starts without
          await store.putIfAbsent(name, sealed);
        },
        keepChunk: async ({ rootId }, digestHex, ciphertext) => {
          await store.putIfAbsent(chunkObjectName(rootId, digestHex), ciphertext);
        },
      },
      keys: keyService,
    },
    caches,
    memoryBytes: config.cacheMemoryBytes,
    readDeadlineMs: config.readDeadlineMs,
    overlayDir: paths.overlays,
    exitWhenIdle: options.exitWhenIdle === true,
    log,
  });
}
