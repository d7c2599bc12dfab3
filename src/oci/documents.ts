/**
 * The JSON documents of an image: index, manifest, configuration. Everything in them was written by others, so
 * every field that is used is checked here, and the rest is ignored.
 * Source: OCI image-spec (descriptor.md, image-index.md, manifest.md, config.md) and Docker's "Image Manifest
 * Version 2, Schema 2", whose fields are the same under other media types.
 */

import { errorMessage } from '../base/index.ts';
import { isDigest, isSha256 } from './digest.ts';
import { OciDocumentError, OciForeignLayerError, OciMediaTypeError } from './errors.ts';
import type { ImageConfig, OciLayer, Platform } from './image-source.ts';

/** Size limit of an index, manifest or configuration; registries commonly refuse more than 4 MiB too. */
export const documentBytesMax = 4 * 1024 * 1024;

/** Points at a blob. Source: OCI image-spec, descriptor.md. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly sizeBytes: number;
  readonly platform?: Platform;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface ImageManifest {
  readonly kind: 'manifest';
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface ImageIndex {
  readonly kind: 'index';
  readonly manifests: readonly Descriptor[];
}

/** What an image's configuration says that Thaw uses. */
export interface ImageConfiguration {
  readonly platform: Platform;
  readonly config: ImageConfig;
  readonly diffIds: readonly string[];
}

type MediaKind = 'index' | 'manifest' | 'schema1' | 'config' | 'layer' | 'foreign-layer';

const mediaKinds: ReadonlyMap<string, MediaKind> = new Map([
  ['application/vnd.oci.image.index.v1+json', 'index'],
  ['application/vnd.docker.distribution.manifest.list.v2+json', 'index'],
  ['application/vnd.oci.image.manifest.v1+json', 'manifest'],
  ['application/vnd.docker.distribution.manifest.v2+json', 'manifest'],
  ['application/vnd.docker.distribution.manifest.v1+json', 'schema1'],
  ['application/vnd.docker.distribution.manifest.v1+prettyjws', 'schema1'],
  ['application/vnd.oci.image.config.v1+json', 'config'],
  ['application/vnd.docker.container.image.v1+json', 'config'],
  ['application/vnd.oci.image.layer.v1.tar', 'layer'],
  ['application/vnd.oci.image.layer.v1.tar+gzip', 'layer'],
  ['application/vnd.oci.image.layer.v1.tar+zstd', 'layer'],
  ['application/vnd.docker.image.rootfs.diff.tar', 'layer'],
  ['application/vnd.docker.image.rootfs.diff.tar.gzip', 'layer'],
  ['application/vnd.docker.image.rootfs.diff.tar.zstd', 'layer'],
  ['application/vnd.docker.image.rootfs.foreign.diff.tar', 'foreign-layer'],
  ['application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', 'foreign-layer'],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar', 'foreign-layer'],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', 'foreign-layer'],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar+zstd', 'foreign-layer'],
]);

/** What a request for a manifest accepts, the ones that can only be refused included: for a clear error. */
export const manifestMediaTypes: readonly string[] = [...mediaKinds]
  .filter(([, kind]) => kind === 'index' || kind === 'manifest' || kind === 'schema1')
  .map(([mediaType]) => mediaType);

/** One JSON value with the way to it, so that errors say which field of which document is wrong. */
class Field {
  readonly what: string;
  readonly path: string;
  readonly value: unknown;

  constructor(what: string, path: string, value: unknown) {
    this.what = what;
    this.path = path;
    this.value = value;
  }

  fail(expected: string): OciDocumentError {
    return new OciDocumentError(this.what, `its field "${this.path}" is not ${expected}`);
  }

  get isAbsent(): boolean {
    return this.value === undefined || this.value === null;
  }

  get(name: string): Field {
    if (typeof this.value !== 'object' || this.value === null || Array.isArray(this.value)) {
      throw this.fail('an object');
    }
    const value: unknown = Object.hasOwn(this.value, name)
      ? (this.value as Record<string, unknown>)[name]
      : undefined;
    return new Field(this.what, this.path === '' ? name : `${this.path}.${name}`, value);
  }

  string(): string {
    if (typeof this.value !== 'string') throw this.fail('a string');
    return this.value;
  }

  stringOr(fallback: string): string {
    return this.isAbsent ? fallback : this.string();
  }

  /** Empty when absent. */
  list(): Field[] {
    if (this.isAbsent) return [];
    if (!Array.isArray(this.value)) throw this.fail('a list');
    return this.value.map((item, index) => new Field(this.what, `${this.path}[${index}]`, item));
  }

  strings(): string[] {
    return this.list().map((item) => item.string());
  }

  /** Empty when absent. */
  stringMap(): Record<string, string> {
    if (this.isAbsent) return {};
    if (typeof this.value !== 'object' || Array.isArray(this.value)) throw this.fail('an object');
    const entries = Object.keys(this.value ?? {}).map(
      (name) => [name, this.get(name).string()] as const,
    );
    return Object.fromEntries(entries);
  }

  byteCount(): number {
    if (!Number.isSafeInteger(this.value) || (this.value as number) < 0) {
      throw this.fail('a size in bytes');
    }
    return this.value as number;
  }

  digest(): string {
    const text = this.string();
    if (!isDigest(text)) throw this.fail('a sha256 or sha512 digest');
    return text;
  }
}

function parseJson(what: string, bytes: Uint8Array): Field {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return new Field(what, '', JSON.parse(text));
  } catch (thrown) {
    throw new OciDocumentError(what, `it is not JSON (${errorMessage(thrown)})`, thrown);
  }
}

function readPlatform(field: Field): Platform {
  const variant = field.get('variant').stringOr('');
  return {
    os: field.get('os').string(),
    architecture: field.get('architecture').string(),
    ...(variant === '' ? {} : { variant }),
  };
}

function readDescriptor(field: Field): Descriptor {
  const platform = field.get('platform');
  return {
    mediaType: field.get('mediaType').string(),
    digest: field.get('digest').digest(),
    sizeBytes: field.get('size').byteCount(),
    ...(platform.isAbsent ? {} : { platform: readPlatform(platform) }),
    annotations: field.get('annotations').stringMap(),
  };
}

/** Media types may carry parameters (`; charset=utf-8`) in HTTP headers. */
function bareMediaType(mediaType: string): string {
  return (mediaType.split(';', 1)[0] ?? '').trim().toLowerCase();
}

/**
 * Parses an index or a manifest. `declared` is the media type of the descriptor or the HTTP header it came by;
 * the one inside the document, where there is one, decides. A document that could be read as both an index and
 * a manifest is refused, so that nobody sees another image under the same digest.
 */
export function parseManifest(
  what: string,
  declared: string,
  bytes: Uint8Array,
): ImageManifest | ImageIndex {
  const document = parseJson(what, bytes);
  const mediaType = document.get('mediaType').stringOr(bareMediaType(declared));
  if (document.get('schemaVersion').value === 1 || mediaKinds.get(mediaType) === 'schema1') {
    const advice = 'that is Docker schema 1: push the image again with a current tool';
    throw new OciMediaTypeError(what, mediaType, advice);
  }
  const kind = mediaKinds.get(mediaType);
  if (kind === 'index' && document.get('layers').isAbsent && document.get('config').isAbsent) {
    return { kind, manifests: document.get('manifests').list().map(readDescriptor) };
  }
  if (kind === 'manifest' && document.get('manifests').isAbsent) {
    return {
      kind,
      config: readDescriptor(document.get('config')),
      layers: document.get('layers').list().map(readDescriptor),
    };
  }
  if (kind === 'index' || kind === 'manifest') {
    throw new OciDocumentError(what, 'it mixes the fields of an index with those of a manifest');
  }
  throw new OciMediaTypeError(what, mediaType, 'an image has an OCI or Docker manifest or index');
}

/** The descriptors of a layout's `index.json`. */
export function parseLayoutIndex(what: string, bytes: Uint8Array): readonly Descriptor[] {
  return parseJson(what, bytes).get('manifests').list().map(readDescriptor);
}

/** Throws unless a layout's marker file `oci-layout` names a version that is known. */
export function checkLayoutMarker(what: string, bytes: Uint8Array): void {
  const version = parseJson(what, bytes).get('imageLayoutVersion').string();
  if (!version.startsWith('1.')) {
    throw new OciDocumentError(what, `its layout version is "${version}", expected 1.0.0`);
  }
}

/** One image of an archive by `docker save`. */
export interface DockerArchiveItem {
  /** Path of the configuration in the archive. */
  readonly config: string;
  readonly repoTags: readonly string[];
  /** Paths of the layers in the archive, lowest first. */
  readonly layers: readonly string[];
}

/** The `manifest.json` of an archive by `docker save`. */
export function parseDockerArchiveManifest(
  what: string,
  bytes: Uint8Array,
): readonly DockerArchiveItem[] {
  return parseJson(what, bytes)
    .list()
    .map((item) => ({
      config: item.get('Config').string(),
      repoTags: item.get('RepoTags').strings(),
      layers: item.get('Layers').strings(),
    }));
}

/** Parses an image's configuration. Source: OCI image-spec, config.md, "Properties". */
export function parseConfiguration(what: string, bytes: Uint8Array): ImageConfiguration {
  const document = parseJson(what, bytes);
  const rootfs = document.get('rootfs');
  const diffIds = rootfs.get('diff_ids').list();
  const run = document.get('config');
  const execution = run.isAbsent ? new Field(what, 'config', {}) : run;
  return {
    platform: readPlatform(document),
    diffIds: diffIds.map((field) => {
      const diffId = field.string();
      if (!isSha256(diffId)) throw field.fail('a sha256 digest');
      return diffId;
    }),
    config: {
      entrypoint: execution.get('Entrypoint').strings(),
      cmd: execution.get('Cmd').strings(),
      env: execution.get('Env').strings(),
      workingDir: execution.get('WorkingDir').stringOr('') || '/',
      user: execution.get('User').stringOr(''),
      labels: execution.get('Labels').stringMap(),
      stopSignal: execution.get('StopSignal').stringOr(''),
    },
  };
}

/** Throws unless the manifest's configuration is that of a container image rather than of another artifact. */
export function checkConfigMediaType(what: string, mediaType: string): void {
  if (mediaKinds.get(mediaType) === 'config') return;
  throw new OciMediaTypeError(what, mediaType, 'it is an artifact, not a container image');
}

/** Joins the layers' blobs with their diff ids. Throws where the two lists or a media type do not fit. */
export function pairLayers(
  what: string,
  blobs: readonly Descriptor[],
  diffIds: readonly string[],
): OciLayer[] {
  if (blobs.length !== diffIds.length) {
    const why = `it has ${blobs.length} layers, but its configuration lists ${diffIds.length} diff ids`;
    throw new OciDocumentError(what, why);
  }
  return blobs.map(({ digest, mediaType, sizeBytes }, index) => {
    const kind = mediaKinds.get(mediaType);
    if (kind === 'foreign-layer') throw new OciForeignLayerError(digest, mediaType);
    if (kind !== 'layer') {
      const advice = 'a layer is a tar, plain or compressed by gzip or zstd';
      throw new OciMediaTypeError(`layer ${digest}`, mediaType, advice);
    }
    return { digest, mediaType, sizeBytes, diffId: diffIds[index] ?? '' };
  });
}
