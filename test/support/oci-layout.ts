/**
 * Writes OCI image layouts for tests and demonstrations, from nothing but tars: an author of its own, which shares
 * no code with the reader under test. The same input always gives the same bytes.
 * Source: OCI image-spec (image-layout.md, image-index.md, manifest.md, config.md).
 */

import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip, createZstdCompress } from 'node:zlib';

import { hostPlatform, type Platform } from '../../src/oci/index.ts';

export type LayerCompression = 'none' | 'gzip' | 'zstd';

export interface LayerInput {
  /** The uncompressed tar, or the path of a file of it. */
  readonly tar: Uint8Array | string;
  /** Default `gzip`. */
  readonly compression?: LayerCompression;
  /** Of gzip, 1 to 9. Default 6. */
  readonly gzipLevel?: number;
}

/** The `config` object of an image's configuration, spelled as in config.md. */
export interface RunConfig {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly WorkingDir?: string;
  readonly User?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
}

export interface ImageInput {
  /** Lowest first; those that `addLayer` has written already are not written again. */
  readonly layers: readonly (LayerInput | WrittenLayer)[];
  readonly config?: RunConfig;
  /** Default: this machine's. */
  readonly platform?: Platform;
  /** The media types of the documents and layers. Default `oci`. */
  readonly dialect?: 'oci' | 'docker';
}

export interface WrittenDescriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface WrittenLayer extends WrittenDescriptor {
  readonly diffId: string;
}

export interface WrittenImage {
  /** Points at the manifest, with the platform. */
  readonly descriptor: WrittenDescriptor;
  readonly configDigest: string;
  readonly layers: readonly WrittenLayer[];
}

const layerMediaTypes = {
  oci: {
    none: 'application/vnd.oci.image.layer.v1.tar',
    gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
    zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  },
  docker: {
    none: 'application/vnd.docker.image.rootfs.diff.tar',
    gzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
    zstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
  },
} as const;

const documentMediaTypes = {
  oci: {
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
  },
  docker: {
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
  },
} as const;

const readOptions = { highWaterMark: 1024 * 1024 };
const indexMediaType = 'application/vnd.oci.image.index.v1+json';
const tagAnnotation = 'org.opencontainers.image.ref.name';

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

async function* tarStream(tar: Uint8Array | string): AsyncGenerator<Uint8Array> {
  if (typeof tar !== 'string') yield tar;
  else for await (const chunk of createReadStream(tar, readOptions)) yield chunk as Buffer;
}

/** A layout being written: blobs first, then the documents that point at them, then their tags. */
export class OciLayoutWriter {
  readonly dir: string;
  #manifests: WrittenDescriptor[] = [];

  private constructor(dir: string) {
    this.dir = dir;
  }

  /** Opens the layout in `dir`, which is made if it is not there, to add images to it. */
  static async open(dir: string): Promise<OciLayoutWriter> {
    const writer = new OciLayoutWriter(dir);
    await mkdir(join(dir, 'blobs/sha256'), { recursive: true });
    await writeFile(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
    const index = await readFile(join(dir, 'index.json'), 'utf8').catch(() => '{"manifests":[]}');
    writer.#manifests = (JSON.parse(index) as { manifests: WrittenDescriptor[] }).manifests;
    await writer.#writeIndex();
    return writer;
  }

  blobPath(digest: string): string {
    return join(this.dir, 'blobs', digest.replace(':', '/'));
  }

  /** Stores bytes as they are under their digest. */
  async addBlob(bytes: Uint8Array, mediaType: string): Promise<WrittenDescriptor> {
    const digest = sha256(bytes);
    await writeFile(this.blobPath(digest), bytes);
    return { mediaType, digest, size: bytes.byteLength };
  }

  async addDocument(document: unknown, mediaType: string): Promise<WrittenDescriptor> {
    return await this.addBlob(Buffer.from(JSON.stringify(document)), mediaType);
  }

  /** Compresses and stores one layer, in a stream, whatever its size. */
  async addLayer(input: LayerInput, dialect: 'oci' | 'docker' = 'oci'): Promise<WrittenLayer> {
    const { tar, compression = 'gzip', gzipLevel = 6 } = input;
    const tarHash = createHash('sha256');
    const blobHash = createHash('sha256');
    let size = 0;
    const temporary = join(this.dir, 'blobs', `.writing-${randomUUID()}`);
    const file = await open(temporary, 'wx');
    const hashTar = async function* (
      chunks: AsyncIterable<Uint8Array>,
    ): AsyncGenerator<Uint8Array> {
      for await (const chunk of chunks) {
        tarHash.update(chunk);
        yield chunk;
      }
    };
    const store = async (chunks: AsyncIterable<Uint8Array>): Promise<void> => {
      for await (const chunk of chunks) {
        blobHash.update(chunk);
        size += chunk.byteLength;
        await file.writeFile(chunk);
      }
    };
    try {
      const compress = { gzip: () => createGzip({ level: gzipLevel }), zstd: createZstdCompress };
      if (compression === 'none') await pipeline(tarStream(tar), hashTar, store);
      else await pipeline(tarStream(tar), hashTar, compress[compression](), store);
    } finally {
      await file.close();
    }
    const digest = `sha256:${blobHash.digest('hex')}`;
    await rename(temporary, this.blobPath(digest));
    const diffId = `sha256:${tarHash.digest('hex')}`;
    return { mediaType: layerMediaTypes[dialect][compression], digest, size, diffId };
  }

  /** Stores an image's layers, configuration and manifest; `tag` makes it findable. */
  async addImage(input: ImageInput): Promise<WrittenImage> {
    const { platform = hostPlatform(), dialect = 'oci', config = {} } = input;
    const layers: WrittenLayer[] = [];
    for (const layer of input.layers) {
      layers.push('diffId' in layer ? layer : await this.addLayer(layer, dialect));
    }
    const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
    const types = documentMediaTypes[dialect];
    const configDocument = { created: '1970-01-01T00:00:00Z', ...platform, config, rootfs };
    const configDescriptor = await this.addDocument(configDocument, types.config);
    const manifest = await this.addDocument(
      {
        schemaVersion: 2,
        mediaType: types.manifest,
        config: configDescriptor,
        layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
      },
      types.manifest,
    );
    const descriptor = { ...manifest, platform };
    return { descriptor, configDigest: configDescriptor.digest, layers };
  }

  /** Stores an image index; the descriptors may be of images or of other indexes. */
  async addIndex(manifests: readonly WrittenDescriptor[]): Promise<WrittenDescriptor> {
    const document = { schemaVersion: 2, mediaType: indexMediaType, manifests };
    return await this.addDocument(document, indexMediaType);
  }

  /** Lists a manifest or index in `index.json`. A tag moves from whatever had it before. */
  async tag(descriptor: WrittenDescriptor, tag?: string): Promise<void> {
    const annotations = { ...descriptor.annotations, ...(tag && { [tagAnnotation]: tag }) };
    this.#manifests = [
      ...this.#manifests.filter((other) => !tag || other.annotations?.[tagAnnotation] !== tag),
      { ...descriptor, ...(Object.keys(annotations).length > 0 && { annotations }) },
    ];
    await this.#writeIndex();
  }

  async #writeIndex(): Promise<void> {
    const index = { schemaVersion: 2, mediaType: indexMediaType, manifests: this.#manifests };
    const path = join(this.dir, 'index.json');
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, JSON.stringify(index));
  }
}

/** Adds one image to the layout in `dir`. Without a tag it can be found only while it is the only one. */
export async function writeOciLayout(
  dir: string,
  image: ImageInput & { readonly tag?: string },
): Promise<WrittenImage> {
  const writer = await OciLayoutWriter.open(dir);
  const written = await writer.addImage(image);
  await writer.tag(written.descriptor, image.tag);
  return written;
}

/** Adds an image of several platforms to the layout in `dir`. The images come back in the order given. */
export async function writeOciLayoutIndex(
  dir: string,
  input: { readonly images: readonly ImageInput[]; readonly tag?: string },
): Promise<{ readonly index: WrittenDescriptor; readonly images: readonly WrittenImage[] }> {
  const writer = await OciLayoutWriter.open(dir);
  const images: WrittenImage[] = [];
  for (const image of input.images) images.push(await writer.addImage(image));
  const index = await writer.addIndex(images.map(({ descriptor }) => descriptor));
  await writer.tag(index, input.tag);
  return { index, images };
}
