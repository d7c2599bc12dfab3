/**
 * A manifest under a tenant's key: the data key comes from a key service, bound to the tenant, the
 * root and the purpose, so that a wrapped key moved to another manifest, root or tenant opens
 * nothing. Source: paper §3.1.
 */

import type { EncryptionContext, KeyService } from '../keys/index.ts';
import { ManifestIdError } from './errors.ts';
import { decodeManifest, encodeManifest, manifestId, manifestLock } from './manifest-codec.ts';
import { sealNonceSizeBytes } from './manifest-layout.ts';
import type { Manifest } from './manifest.ts';

export interface SealManifestOptions {
  /** Whose key opens it. */
  readonly tenant: string;
  readonly keyService: KeyService;
  /** `randomBytes` of node:crypto, or fixed bytes in a test. */
  readonly randomBytes: (sizeBytes: number) => Uint8Array;
}

export interface SealedManifest {
  readonly bytes: Uint8Array;
  /** SHA-256 of `bytes` in hex: names the object. Another at every call: the data key is new. */
  readonly manifestId: string;
}

export interface OpenManifestOptions {
  readonly tenant: string;
  readonly keyService: KeyService;
  /** When given, the bytes must hash to it. */
  readonly manifestId?: string;
}

function manifestContext(tenant: string, rootId: string): EncryptionContext {
  return { purpose: 'thaw/manifest/v1', root: rootId, tenant };
}

/**
 * Seals `manifest` with a new data key of the tenant's. The result was opened once more before it
 * is returned, so that what is stored can be read. Throws `ERR_CHUNK_MANIFEST_UNENCODABLE` and the
 * key service's own errors.
 */
export async function sealManifest(
  manifest: Manifest,
  { tenant, keyService, randomBytes }: SealManifestOptions,
): Promise<SealedManifest> {
  const context = manifestContext(tenant, manifest.rootId);
  const dataKey = await keyService.generateDataKey(tenant, context);
  try {
    const bytes = encodeManifest(manifest, { dataKey, nonce: randomBytes(sealNonceSizeBytes) });
    decodeManifest(bytes, dataKey.plaintext);
    return { bytes, manifestId: manifestId(bytes) };
  } finally {
    dataKey.plaintext.fill(0);
  }
}

/**
 * Opens the bytes of a manifest, which stay the caller's, for the tenant that it was sealed for.
 * Throws `ERR_CHUNK_MANIFEST_ID` if they are not those of `manifestId`, `ERR_CHUNK_MANIFEST_*` as
 * `decodeManifest` does, and the key service's own errors, `ERR_KEYS_UNWRAP_REFUSED` among them.
 */
export async function openManifest(
  bytes: Uint8Array,
  options: OpenManifestOptions,
): Promise<Manifest> {
  if (options.manifestId !== undefined) {
    const id = manifestId(bytes);
    if (id !== options.manifestId) throw new ManifestIdError(options.manifestId, id);
  }
  const { rootId, wrappedKey } = manifestLock(bytes);
  const dataKey = await options.keyService.unwrapDataKey(
    options.tenant,
    wrappedKey,
    manifestContext(options.tenant, rootId),
  );
  try {
    return decodeManifest(bytes, dataKey);
  } finally {
    dataKey.fill(0);
  }
}
