/** Everything that publishing works with, real and in a directory that goes with the test. */

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

import { writeOciLayout, type LayerInput } from '../../../test/support/oci-layout.ts';
import { systemClock } from '../../base/index.ts';
import { openCatalog, type Catalog } from '../../catalog/index.ts';
import { createSealPool } from '../../chunk/index.ts';
import { openLocalKeyring } from '../../keys/index.ts';
import { openDirectoryStore, type ObjectStore } from '../../store/index.ts';
import { publishImage, type PublishDependencies, type PublishResult } from '../publish-image.ts';
import type { PublishRequest } from '../publish-image.ts';

export interface PublishingHouse {
  readonly deps: PublishDependencies;
  readonly store: ObjectStore;
  readonly catalog: Catalog;
  /** Writes an image into an OCI layout of its own; its source. */
  image(layers: readonly LayerInput[]): Promise<string>;
  publish(source: string, request?: Partial<PublishRequest>): Promise<PublishResult>;
}

export async function publishingHouse(
  t: TestContext,
  changes: Partial<PublishDependencies> = {},
): Promise<PublishingHouse> {
  const root = await mkdtemp(join(tmpdir(), 'thaw-publish-'));
  const catalog = await openCatalog(join(root, 'catalog.db'));
  const sealer = createSealPool();
  t.after(async () => {
    await sealer.close();
    await catalog[Symbol.asyncDispose]();
    await rm(root, { recursive: true });
  });
  const store = await openDirectoryStore(join(root, 'store'));
  const keys = await openLocalKeyring(join(root, 'keyring.json'));
  const workDir = join(root, 'work');
  await mkdir(workDir);
  const deps = { store, keys, catalog, sealer, clock: systemClock, workDir, ...changes };
  let images = 0;
  return {
    deps,
    store,
    catalog,
    image: async (layers) => {
      images += 1;
      const dir = join(root, `layout-${images}`);
      await mkdir(dir);
      await writeOciLayout(dir, { layers, tag: 'x' });
      return `oci:${dir}:x`;
    },
    publish: async (source, request = {}) =>
      await publishImage(deps, { source, tenant: 'default', ...request }),
  };
}
