import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { objectStoreConformance } from '../store/testing/object-store-conformance.ts';
import { loadConfig } from './config.ts';
import { openStore } from './open-store.ts';

// The bucket is opened in test/integration/s3-store.test.ts, where there is a server.
objectStoreConformance({
  name: 'the directory that commands open',
  create: async () => {
    const root = await mkdtemp(join(tmpdir(), 'thaw-open-store-'));
    return {
      store: await openStore(await loadConfig({ root }, {})),
      [Symbol.asyncDispose]: () => rm(root, { recursive: true }),
    };
  },
});
