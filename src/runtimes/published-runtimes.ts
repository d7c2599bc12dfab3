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
import { treeTag, type RuntimeTree } from './runtime-tree.ts';
import { writeImage } from './write-image.ts';

/** Makes images below `publish.workDir` before they are published. */
export function createRuntimeImages(publish: PublishDependencies): RuntimeImages {
  return new PublishedRuntimes(publish);
}

class PublishedRuntimes implements RuntimeImages {
  readonly #publish: PublishDependencies;
  readonly #building = new SingleFlight<string, ImageRecord>();
  /** By name: the tag of what this machine makes, as far as this process has looked. */
  readonly #tags = new Map<string, string>();

  constructor(publish: PublishDependencies) {
    this.#publish = publish;
  }

  async names(): Promise<readonly string[]> {
    const published = await this.#publish.catalog.listImages(runtimesTenant);
    const known = Object.keys(await knownRuntimes());
    const all = new Set([...published.map(({ name }) => name), ...known]);
    return [...all].toSorted(compareStrings);
  }

  async find(runtime: string): Promise<ImageRecord | undefined> {
    const images = await this.#imagesOf(runtime);
    return this.#currentOf(runtime, images) ?? images[0];
  }

  async ensure(runtime: string): Promise<ImageRecord> {
    return (await this.find(runtime)) ?? (await this.build(runtime));
  }

  async build(runtime: string): Promise<ImageRecord> {
    const known = await knownRuntimes();
    const makeTree = Object.hasOwn(known, runtime) ? known[runtime] : undefined;
    if (makeTree === undefined) throw new RuntimeUnknownError(runtime, await this.names());
    return await this.#building.run(runtime, async () => {
      const tree = await makeTree();
      const tag = await treeTag(tree);
      const image = await buildImage(this.#publish, { runtime, tree, tag });
      this.#tags.set(runtime, tag);
      return image;
    });
  }

  async refresh(): Promise<void> {
    for (const [runtime, makeTree] of Object.entries(await knownRuntimes())) {
      const images = await this.#imagesOf(runtime);
      if (images.length === 0) continue;
      this.#tags.set(runtime, await treeTag(await makeTree()));
      if (this.#currentOf(runtime, images) === undefined) await this.build(runtime);
    }
  }

  /** Newest first. */
  async #imagesOf(runtime: string): Promise<readonly ImageRecord[]> {
    const images = await this.#publish.catalog.listImages(runtimesTenant);
    return images.filter(({ name }) => name === runtime);
  }

  /** Published again after a downgrade, an image keeps its first time: the newest is not always the current one. */
  #currentOf(runtime: string, images: readonly ImageRecord[]): ImageRecord | undefined {
    const tag = this.#tags.get(runtime);
    return tag === undefined
      ? undefined
      : images.find(({ reference }) => reference.endsWith(`:${tag}`));
  }
}

async function buildImage(
  publish: PublishDependencies,
  of: { readonly runtime: string; readonly tree: RuntimeTree; readonly tag: string },
): Promise<ImageRecord> {
  const dir = await makeLayoutDirectory(join(publish.workDir, 'runtimes'));
  try {
    await writeImage(of.tree, dir, of.tag);
    const request = { source: `oci:${dir}:${of.tag}`, tenant: runtimesTenant, name: of.runtime };
    return (await publishImage(publish, request)).image;
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
