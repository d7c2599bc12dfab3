/**
 * A start profile under its tenant's key, as a manifest is: the data key comes from the key service, bound to the tenant, the root and the
 * purpose; the identity of the image, which is in no byte of it, is associated data, so that a profile put in
 * another's place does not open. What a function reads tells what it does. Bytes: `docs/formats/start-profile.md`.
 */

import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

import { layout } from '../../base/index.ts';
import type { EncryptionContext, KeyService } from '../../keys/index.ts';
import type { ImageRef } from '../images/block-images.ts';
import { StartProfileError } from '../errors.ts';
import { chunkDigestSizeBytes } from '../../chunk/index.ts';
import { decodeStartProfile, encodeStartProfile } from './start-profile-codec.ts';
import type { StartProfile } from './start-profile.ts';

/** `THAWPROF` in ASCII. */
const magic = Buffer.from('THAWPROF', 'ascii');
export const startProfileFormatVersion = 4;
const tagSizeBytes = 16;

export const startProfileHeader = layout('start_profile_header', 36, [
  [0x00, 'bytes8', 'magic'],
  [0x08, 'u32', 'format_version'],
  [0x0c, 'u32', 'flags'], // 0
  [0x10, 'u32', 'wrapped_key_length'],
  [0x14, 'bytes12', 'nonce'],
  [0x20, 'u32', 'packed_count'],
]);

function identityBytes({ tenant, rootId, manifestId }: ImageRef): Buffer {
  const parts = ['thaw/start-profile', startProfileFormatVersion, tenant, rootId, manifestId];
  return Buffer.from(JSON.stringify(parts));
}

function contextOf({ tenant, rootId }: ImageRef): EncryptionContext {
  return { purpose: 'thaw/start-profile/v1', root: rootId, tenant };
}

/** The profile's bytes. Throws what the key service throws. */
export async function sealStartProfile(
  profile: StartProfile,
  image: ImageRef,
  keys: KeyService,
): Promise<Uint8Array> {
  const { plaintext, wrapped } = await keys.generateDataKey(image.tenant, contextOf(image));
  try {
    const nonce = randomBytes(12);
    const { sealed, digests } = encodeStartProfile(profile);
    const header = startProfileHeader.encode({
      magic,
      format_version: startProfileFormatVersion,
      flags: 0,
      wrapped_key_length: wrapped.byteLength,
      nonce,
      packed_count: digests.byteLength / chunkDigestSizeBytes,
    });
    const front = Buffer.concat([header, digests, wrapped]);
    const cipher = createCipheriv('aes-256-gcm', plaintext, nonce);
    cipher.setAAD(Buffer.concat([identityBytes(image), front]));
    const ciphertext = cipher.update(sealed);
    cipher.final();
    return Buffer.concat([front, ciphertext, cipher.getAuthTag()]);
  } finally {
    plaintext.fill(0);
  }
}

/**
 * What was sealed. Throws `ERR_DEVICE_PROFILE` where the bytes are no profile, of another version, changed or another's;
 * `ERR_KEYS_UNWRAP_REFUSED` and the key service's other errors.
 */
export async function openStartProfile(
  bytes: Uint8Array,
  image: ImageRef,
  keys: KeyService,
): Promise<StartProfile> {
  if (bytes.byteLength < startProfileHeader.sizeBytes) {
    throw new StartProfileError('it is cut short');
  }
  const fields = startProfileHeader.decode(bytes);
  if (!magic.equals(fields.magic)) throw new StartProfileError('it does not start with its magic');
  if (fields.format_version !== startProfileFormatVersion || fields.flags !== 0) {
    throw new StartProfileError(`it has format version ${fields.format_version}`);
  }
  const wrappedAt = startProfileHeader.sizeBytes + fields.packed_count * chunkDigestSizeBytes;
  const sealedAt = wrappedAt + fields.wrapped_key_length;
  const tagAt = bytes.byteLength - tagSizeBytes;
  if (sealedAt > tagAt) throw new StartProfileError('it is cut short');
  const front = bytes.subarray(0, sealedAt);
  const digests = front.subarray(startProfileHeader.sizeBytes, wrappedAt);
  const wrapped = front.subarray(wrappedAt);
  const dataKey = await keys.unwrapDataKey(image.tenant, wrapped, contextOf(image));
  try {
    const sealed = unseal(bytes, { front, tagAt, nonce: fields.nonce, dataKey, image });
    return decodeStartProfile({ sealed, digests });
  } finally {
    dataKey.fill(0);
  }
}

interface Seal {
  readonly front: Uint8Array;
  readonly tagAt: number;
  readonly nonce: Uint8Array;
  readonly dataKey: Uint8Array;
  readonly image: ImageRef;
}

function unseal(bytes: Uint8Array, { front, tagAt, nonce, dataKey, image }: Seal): Uint8Array {
  try {
    const decipher = createDecipheriv('aes-256-gcm', dataKey, nonce, {
      authTagLength: tagSizeBytes,
    });
    decipher.setAAD(Buffer.concat([identityBytes(image), front]));
    decipher.setAuthTag(bytes.subarray(tagAt));
    const opened = decipher.update(bytes.subarray(front.byteLength, tagAt));
    decipher.final();
    return opened;
  } catch (thrown) {
    throw new StartProfileError('its seal does not hold', thrown);
  }
}
