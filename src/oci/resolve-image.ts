/** From what a reference names down to one platform's manifest, configuration and list of layers. */

import { readDocument, withFreshCopies, type Blob, type BlobSource } from './blob-source.ts';
import {
  checkConfigMediaType,
  pairLayers,
  parseConfiguration,
  parseManifest,
  type Descriptor,
  type ImageManifest,
} from './documents.ts';
import { OciDocumentError, OciPlatformMissingError } from './errors.ts';
import type { ImageConfig, OciLayer, Platform } from './image-source.ts';
import { formatPlatform, platformDistance } from './platform.ts';

/** Indexes within indexes; buildx writes two levels. */
const indexDepthMax = 8;
/** Manifests looked into for a platform that their index does not state. */
const documentsReadMax = 128;

export interface ResolvedImage {
  readonly imageDigest: string;
  readonly platform: Platform;
  readonly config: ImageConfig;
  readonly layers: readonly OciLayer[];
}

class Resolver {
  readonly #source: BlobSource;
  readonly #wanted: Platform;
  readonly #available = new Set<string>();
  #documentsRead = 0;

  constructor(source: BlobSource, wanted: Platform) {
    this.#source = source;
    this.#wanted = wanted;
  }

  get available(): string[] {
    return [...this.#available].sort();
  }

  /** The best image among the entries of an index; undefined if none is for the platform. */
  async among(entries: readonly Descriptor[], depth: number): Promise<ResolvedImage | undefined> {
    for (const entry of this.#candidates(entries)) {
      const image = await this.#one(entry, depth);
      if (image !== undefined) return image;
    }
    return undefined;
  }

  /** The nearest platform first; entries that state none last, as only their contents tell. */
  #candidates(entries: readonly Descriptor[]): Descriptor[] {
    const stated: { readonly entry: Descriptor; readonly distance: number }[] = [];
    for (const entry of entries) {
      if (entry.platform === undefined) continue;
      this.#note(entry.platform);
      const distance = platformDistance(this.#wanted, entry.platform);
      if (distance !== undefined) stated.push({ entry, distance });
    }
    stated.sort((a, b) => a.distance - b.distance);
    const silent = entries.filter((entry) => entry.platform === undefined);
    return [...stated.map(({ entry }) => entry), ...silent];
  }

  /** Attestations and other attachments to an image are listed as `unknown/unknown`. */
  #note(platform: Platform): void {
    if (platform.os !== 'unknown') this.#available.add(formatPlatform(platform));
  }

  async #one(entry: Descriptor, depth: number): Promise<ResolvedImage | undefined> {
    const what = `manifest ${entry.digest}`;
    if (depth > indexDepthMax) throw new OciDocumentError(what, 'indexes are nested too deeply');
    const bytes = await this.#read(what, entry, () => this.#source.openManifest(entry));
    const manifest = parseManifest(what, entry.mediaType, bytes);
    if (manifest.kind === 'index') return await this.among(manifest.manifests, depth + 1);
    return await this.#image(entry, manifest);
  }

  async #image(entry: Descriptor, manifest: ImageManifest): Promise<ResolvedImage | undefined> {
    const what = `configuration ${manifest.config.digest}`;
    checkConfigMediaType(`image ${entry.digest}`, manifest.config.mediaType);
    const open = () => this.#source.openBlob(manifest.config);
    const bytes = await this.#read(what, manifest.config, open);
    const { platform, config, diffIds } = parseConfiguration(what, bytes);
    if (entry.platform === undefined) {
      this.#note(platform);
      if (platformDistance(this.#wanted, platform) === undefined) return undefined;
    }
    return {
      imageDigest: entry.digest,
      platform: entry.platform ?? platform,
      config,
      layers: pairLayers(`manifest ${entry.digest}`, manifest.layers, diffIds),
    };
  }

  async #read(what: string, expected: Descriptor, open: () => Promise<Blob>): Promise<Uint8Array> {
    this.#documentsRead += 1;
    if (this.#documentsRead > documentsReadMax) {
      throw new OciDocumentError(what, 'its index does not state which platforms its entries have');
    }
    return await withFreshCopies(this.#source, async () =>
      readDocument(what, await open(), expected),
    );
  }
}

/**
 * Finds the image for a platform. Where an index states a platform it is believed, else the configuration decides.
 * Throws `ERR_OCI_PLATFORM_MISSING` with what there is instead, `ERR_OCI_BAD_DOCUMENT`,
 * `ERR_OCI_UNSUPPORTED_MEDIA_TYPE`, `ERR_OCI_FOREIGN_LAYER`, and what reading the documents throws.
 */
export async function resolveImage(
  source: BlobSource,
  reference: string,
  wanted: Platform,
): Promise<ResolvedImage> {
  const resolver = new Resolver(source, wanted);
  const image = await resolver.among(await source.roots(), 0);
  if (image !== undefined) return image;
  throw new OciPlatformMissingError(reference, formatPlatform(wanted), resolver.available);
}
