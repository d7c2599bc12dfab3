/**
 * An image in a tar file as `docker save` writes it (and skopeo as docker-archive): `manifest.json` names a
 * configuration and layers, all of them members of the archive. There are no manifests and no digests of blobs;
 * the configuration's diff ids are what layers are checked against.
 * Source: moby, image/spec/spec.md, "Combined Image JSON + Filesystem Changeset Format".
 */

import { readSmallFile } from './blob-source.ts';
import { digestOf } from './digest.ts';
import {
  parseConfiguration,
  parseDockerArchiveManifest,
  type DockerArchiveItem,
} from './documents.ts';
import {
  OciAmbiguousReferenceError,
  OciDocumentError,
  OciLayoutError,
  OciNotFoundError,
  OciPlatformMissingError,
  OciReferenceError,
} from './errors.ts';
import type { FileRange } from './file-range.ts';
import type { ImageFiles } from './image-files.ts';
import type { OciLayer, Platform } from './image-source.ts';
import { formatPlatform, platformDistance } from './platform.ts';
import { formatReference, normaliseImageName, type DockerArchiveReference } from './reference.ts';
import type { ResolvedImage } from './resolve-image.ts';

const layerMediaType = 'application/vnd.docker.image.rootfs.diff.tar';

async function member(files: ImageFiles, name: string, advice: string): Promise<FileRange> {
  const range = await files.find(name);
  if (range !== undefined) return range;
  throw new OciLayoutError(files.path, `it has no member "${name}"; ${advice}`);
}

async function readMember(files: ImageFiles, name: string, advice: string): Promise<Uint8Array> {
  await using range = await member(files, name, advice);
  return await readSmallFile(`"${name}" of "${files.path}"`, range);
}

function namesOf(item: DockerArchiveItem): string[] {
  return item.repoTags.flatMap((name) => {
    try {
      return [normaliseImageName(name)];
    } catch (thrown) {
      if (thrown instanceof OciReferenceError) return []; // such an image has no name to ask for
      throw thrown;
    }
  });
}

function chooseItem(
  items: readonly DockerArchiveItem[],
  reference: DockerArchiveReference,
): DockerArchiveItem {
  const { path, name } = reference;
  const names = items.flatMap(namesOf);
  const matching =
    name === undefined ? items : items.filter((item) => namesOf(item).includes(name));
  const [first] = matching;
  if (first === undefined) {
    const advice = names.length === 0 ? 'its images have no names' : `it has ${names.join(', ')}`;
    throw new OciNotFoundError(name === undefined ? 'an image' : `image "${name}"`, path, advice);
  }
  if (matching.length > 1) throw new OciAmbiguousReferenceError(formatReference(reference), names);
  return first;
}

export class DockerArchive implements AsyncDisposable {
  readonly image: ResolvedImage;
  readonly #files: ImageFiles;
  readonly #layerPaths: ReadonlyMap<OciLayer, string>;

  private constructor(
    image: ResolvedImage,
    files: ImageFiles,
    layerPaths: ReadonlyMap<OciLayer, string>,
  ) {
    this.image = image;
    this.#files = files;
    this.#layerPaths = layerPaths;
  }

  /** Reads the archive's documents; the caller keeps `files` if it throws. */
  static async open(
    files: ImageFiles,
    reference: DockerArchiveReference,
    wanted: Platform,
  ): Promise<DockerArchive> {
    const advice = 'is it an archive by "docker save"?';
    const manifest = await readMember(files, 'manifest.json', advice);
    const what = `"manifest.json" of "${files.path}"`;
    const item = chooseItem(parseDockerArchiveManifest(what, manifest), reference);
    const configBytes = await readMember(files, item.config, 'the archive is incomplete');
    const configName = `configuration "${item.config}"`;
    const { platform, config, diffIds } = parseConfiguration(configName, configBytes);
    if (platformDistance(wanted, platform) === undefined) {
      const available = [formatPlatform(platform)];
      throw new OciPlatformMissingError(
        formatReference(reference),
        formatPlatform(wanted),
        available,
      );
    }
    if (diffIds.length !== item.layers.length) {
      const why = `it has ${item.layers.length} layers, but its configuration lists ${diffIds.length} diff ids`;
      throw new OciDocumentError(what, why);
    }
    const layerPaths = new Map<OciLayer, string>();
    for (const [index, path] of item.layers.entries()) {
      await using range = await member(files, path, 'the archive is incomplete');
      const diffId = diffIds[index] ?? '';
      const { sizeBytes } = range;
      layerPaths.set({ digest: diffId, diffId, mediaType: layerMediaType, sizeBytes }, path);
    }
    const imageDigest = digestOf(configBytes);
    const layers = [...layerPaths.keys()];
    return new DockerArchive({ imageDigest, platform, config, layers }, files, layerPaths);
  }

  /** The layer's member, not yet verified; the receiver disposes of it. */
  async openLayer(layer: OciLayer): Promise<FileRange> {
    const path = this.#layerPaths.get(layer) ?? '';
    return await member(this.#files, path, 'the archive has changed since it was opened');
  }

  /** True if the layer's member is still there in the size that it had. */
  async hasLayer(layer: OciLayer): Promise<boolean> {
    await using range = await this.#files.find(this.#layerPaths.get(layer) ?? '');
    return range?.sizeBytes === layer.sizeBytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#files[Symbol.asyncDispose]();
  }
}
