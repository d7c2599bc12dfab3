/**
 * A data key sealed under a tenant's key with AES-256-GCM. The tenant and the whole context are
 * associated data, so the wrapped key opens nothing in any other place.
 *
 *   wrapped = version (1 byte, 1) | nonce (12) | encrypted data key (32) | tag (16)
 */

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

import { compareStrings } from '../base/index.ts';
import { KeysUnwrapRefusedError } from './errors.ts';
import type { EncryptionContext } from './key-service.ts';

export const keySizeBytes = 32;

const wrappingVersion = 1;
const nonceSizeBytes = 12;
const tagSizeBytes = 16;
const wrappedSizeBytes = 1 + nonceSizeBytes + keySizeBytes + tagSizeBytes;

export interface WrappingPlace {
  readonly tenant: string;
  readonly context: EncryptionContext;
}

/** One text for one place, whatever the order of the context's entries; no two places share one. */
function associatedData({ tenant, context }: WrappingPlace): Buffer {
  const entries = Object.entries(context).toSorted(([a], [b]) => compareStrings(a, b));
  return Buffer.from(JSON.stringify(['thaw/wrapped-key', wrappingVersion, tenant, entries]));
}

/** `tenantKey` and `dataKey` are 32 bytes each and stay the caller's. */
export function wrapKey(
  tenantKey: Uint8Array,
  dataKey: Uint8Array,
  place: WrappingPlace,
): Uint8Array {
  const nonce = randomBytes(nonceSizeBytes);
  const cipher = createCipheriv('aes-256-gcm', tenantKey, nonce);
  cipher.setAAD(associatedData(place));
  const sealed = cipher.update(dataKey);
  cipher.final();
  return Buffer.concat([Buffer.of(wrappingVersion), nonce, sealed, cipher.getAuthTag()]);
}

/** The data key's 32 bytes, the caller's. Throws `ERR_KEYS_UNWRAP_REFUSED`. */
export function unwrapKey(
  tenantKey: Uint8Array,
  wrapped: Uint8Array,
  place: WrappingPlace,
): Uint8Array {
  if (wrapped.byteLength !== wrappedSizeBytes || wrapped[0] !== wrappingVersion) {
    throw new KeysUnwrapRefusedError();
  }
  const sealedAt = 1 + nonceSizeBytes;
  const tagAt = sealedAt + keySizeBytes;
  const decipher = createDecipheriv('aes-256-gcm', tenantKey, wrapped.subarray(1, sealedAt), {
    authTagLength: tagSizeBytes,
  });
  decipher.setAAD(associatedData(place));
  decipher.setAuthTag(wrapped.subarray(tagAt));
  const dataKey = decipher.update(wrapped.subarray(sealedAt, tagAt));
  try {
    decipher.final();
  } catch {
    dataKey.fill(0);
    throw new KeysUnwrapRefusedError();
  }
  return dataKey;
}
