/** Runtimes as published images of a tenant of their own. */

import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

import {
  SingleFlight,
  compareStrings,
  isProcessAlive,
  present,
  processIdentity,
} from '../base/index.ts';
import type { ImageRecord } from '../catalog/index.ts';
import { publishImage, type PublishDependencies } from '../publish/index.ts';
import { RuntimeUnknownError } from './errors.ts';
import { knownRuntimes } from './known-runtimes.ts';
import { runtimesTenant, type RuntimeImages } from './runtime-images.ts';
import { writeImage } from './write-image.ts';

/** Makes images below `publish.workDir` before they are published. */
export function createRuntimeImages(publish: PublishDependencies): RuntimeImages {
  const building = new SingleFlight<string, ImageRecord>();
  const find = async (runtime: string): Promise<ImageRecord | undefined> => {
    const image = await publish.catalog.findImage(runtimesTenant, runtime);
    return image?.name === runtime ? image : undefined; // an id names no runtime
  };
  const names = async (): Promise<readonly string[]> => {
    const published = await publish.catalog.listImages(runtimesTenant);
    const all = new Set([...published.map(({ name }) => name), ...Object.keys(knownRuntimes)]);
    return [...all].toSorted(compareStrings);
  };
  const build = async (runtime: string): Promise<ImageRecord> => {
    if (!Object.hasOwn(knownRuntimes, runtime)) {
      throw new RuntimeUnknownError(runtime, await names());
    }
    return await building.run(runtime, async () => await buildImage(publish, runtime));
  };
  return {
    names,
    find,
    ensure: async (runtime) => (await find(runtime)) ?? (await build(runtime)),
    build,
  };
}

async function buildImage(publish: PublishDependencies, runtime: string): Promise<ImageRecord> {
  const tree = await present(knownRuntimes[runtime], `runtime ${runtime}`)();
  const dir = await makeLayoutDirectory(join(publish.workDir, 'runtimes'));
  try {
    await writeImage(tree, dir);
    const source = `oci:${dir}:runtime`;
    const { image } = await publishImage(publish, {
      source,
      tenant: runtimesTenant,
      name: runtime,
    });
    return image;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Named after this process, so that the next one can tell what a killed one left. */
async function makeLayoutDirectory(shared: string): Promise<string> {
  await mkdir(shared, { recursive: true, mode: 0o700 });
  for (const name of await readdir(shared)) {
    const owner = name.split('.')[0] ?? '';
    if (!(await isProcessAlive(owner))) await rm(join(shared, name), { recursive: true });
  }
  const own = present(await processIdentity(process.pid), 'own identity');
  return await mkdtemp(join(shared, `${own}.`));
}
