/**
 * What every source of images gives: one image of one platform, its configuration, and its layers as
 * verified, uncompressed tar files. Layouts, archives and registries implement it.
 */

import type { RandomAccess } from '../base/index.ts';

/** `os/architecture[/variant]` as the OCI image index has it, e.g. `linux/arm64/v8`. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/**
 * The execution parameters of an image. Source: OCI image-spec, config.md, "Properties" (`config` object);
 * absent fields are empty here.
 */
export interface ImageConfig {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  /** `NAME=value`, in the image's order. */
  readonly env: readonly string[];
  /** Absolute; `/` where the image names none. */
  readonly workingDir: string;
  /** `user`, `uid`, `user:group`, `uid:gid` in any mix; empty means root. */
  readonly user: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly stopSignal: string;
}

export interface OciLayer {
  /**
   * Of the blob as stored (compressed), `sha256:…` or `sha512:…`; the diff id again where the source has no
   * digests of its blobs (docker-archive).
   */
  readonly digest: string;
  /** Of the uncompressed tar, `sha256:…`, as the image's configuration lists it. */
  readonly diffId: string;
  readonly mediaType: string;
  /** Of the blob as stored. */
  readonly sizeBytes: number;
}

/** An uncompressed layer, checked against its blob digest, size and diff id, open for reading. */
export interface LayerTar extends RandomAccess, AsyncDisposable {
  readonly diffId: string;
}

/** An opened image. Dispose of it to end connections; layer tars already opened stay valid. */
export interface OciImage extends AsyncDisposable {
  /** The reference it was opened by, in canonical form, without credentials. */
  readonly reference: string;
  /**
   * `sha256:…` of the platform's image manifest; of the image's configuration where the source has no
   * manifest (docker-archive).
   */
  readonly imageDigest: string;
  readonly platform: Platform;
  readonly config: ImageConfig;
  /** Lowest first. */
  readonly layers: readonly OciLayer[];
  /**
   * Fetches, decompresses and verifies one layer. The uncompressed tar is kept in an unlinked temporary file
   * under `workDir` until disposed of, so that a killed process leaves nothing behind.
   * Throws `ERR_OCI_*`: digest or size mismatch, unknown media type, truncated or corrupt compression,
   * registry failures.
   */
  openLayer(layer: OciLayer): Promise<LayerTar>;
  /**
   * Whether we could fetch the layer if we wanted to, without doing it: true only if a registry has answered a HEAD of the
   * blob with these credentials, or the blob is in the layout or archive with the right size. Nothing of the
   * blob is read or verified. False for whatever hinders us: `openLayer` tells what.
   */
  hasAccess(layer: OciLayer): Promise<boolean>;
}
