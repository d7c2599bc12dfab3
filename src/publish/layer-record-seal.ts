/**
 * A layer record under a tenant's key, as a manifest is: the data key comes from the key service, bound to the tenant, the root
 * and the purpose. The record's identity, which is in no byte of it, is associated data as well, so that a record put
 * in another's place does not open. Bytes: `docs/formats/layer-record.md`.
 */

import { createCipheriv, createDecipheriv, createHmac, randomBytes } from 'node:crypto';

import { layout } from '../base/index.ts';
import type { EncryptionContext, KeyService } from '../keys/index.ts';
import { LayerRecordError } from './layer-record-error.ts';

/** Everything that a record depends on. Records of two identities have nothing to do with each other. */
export interface RecordIdentity {
  readonly tenant: string;
  readonly rootId: string;
  /** Of the blob as stored, `sha256:…`. */
  readonly blobDigest: string;
  /** Of the uncompressed tar; that the blob has it was verified. */
  readonly diffId: string;
  readonly diskFormatVersion: number;
  readonly chunkSizeBytes: number;
  /** What was asked for when its chunks were sealed. */
  readonly codec: string;
}

/** `THAWLAYR` in ASCII. */
const magic = Buffer.from('THAWLAYR', 'ascii');
export const layerRecordFormatVersion = 1;
const nonceSizeBytes = 12;
const tagSizeBytes = 16;

export const layerRecordHeader = layout('layer_record_header', 32, [
  [0x00, 'bytes8', 'magic'],
  [0x08, 'u32', 'format_version'],
  [0x0c, 'u32', 'flags'], // 0
  [0x10, 'u32', 'wrapped_key_length'],
  [0x14, 'bytes12', 'nonce'],
]);

/** One text for one identity; no two share one. */
function identityText(identity: RecordIdentity): string {
  const { tenant, rootId, blobDigest, diffId, diskFormatVersion, chunkSizeBytes, codec } = identity;
  const parts = [tenant, rootId, blobDigest, diffId, diskFormatVersion, chunkSizeBytes, codec];
  return JSON.stringify(['thaw/layer-record', layerRecordFormatVersion, ...parts]);
}

function contextOf({ tenant, rootId }: RecordIdentity): EncryptionContext {
  return { purpose: 'thaw/layer-record/v1', root: rootId, tenant };
}

/**
 * A record's name in its root: 64 hex digits. Keyed with the root's salt, so that who can only list the store cannot ask whether a
 * tenant has a certain layer.
 */
export function layerRecordName(identity: RecordIdentity, salt: Uint8Array): string {
  return createHmac('sha256', salt).update(identityText(identity)).digest('hex');
}

/** The record's bytes; `parts` stay the caller's. Throws what the key service throws. */
export async function sealLayerRecord(
  parts: readonly Uint8Array[],
  identity: RecordIdentity,
  keys: KeyService,
): Promise<Uint8Array> {
  const { plaintext, wrapped } = await keys.generateDataKey(identity.tenant, contextOf(identity));
  try {
    const nonce = randomBytes(nonceSizeBytes);
    const header = layerRecordHeader.encode({
      magic,
      format_version: layerRecordFormatVersion,
      flags: 0,
      wrapped_key_length: wrapped.byteLength,
      nonce,
    });
    const cipher = createCipheriv('aes-256-gcm', plaintext, nonce);
    cipher.setAAD(Buffer.concat([Buffer.from(identityText(identity)), header, wrapped]));
    const sealed = parts.map((part) => cipher.update(part));
    cipher.final();
    return Buffer.concat([header, wrapped, ...sealed, cipher.getAuthTag()]);
  } finally {
    plaintext.fill(0);
  }
}

/**
 * What was sealed, in a fresh array. Throws `ERR_PUBLISH_LAYER_RECORD` where the bytes are no record, of another version, changed or
 * another's; `ERR_KEYS_UNWRAP_REFUSED` and the key service's other errors.
 */
export async function openLayerRecord(
  bytes: Uint8Array,
  identity: RecordIdentity,
  keys: KeyService,
): Promise<Uint8Array> {
  if (bytes.byteLength < layerRecordHeader.sizeBytes) throw new LayerRecordError('it is cut short');
  const fields = layerRecordHeader.decode(bytes);
  if (!magic.equals(fields.magic)) throw new LayerRecordError('it does not start with its magic');
  if (fields.format_version !== layerRecordFormatVersion || fields.flags !== 0) {
    throw new LayerRecordError(`it has format version ${fields.format_version}`);
  }
  const sealedAt = layerRecordHeader.sizeBytes + fields.wrapped_key_length;
  const tagAt = bytes.byteLength - tagSizeBytes;
  if (sealedAt > tagAt) throw new LayerRecordError('it is cut short');
  const front = bytes.subarray(0, sealedAt);
  const wrapped = front.subarray(layerRecordHeader.sizeBytes);
  const dataKey = await keys.unwrapDataKey(identity.tenant, wrapped, contextOf(identity));
  try {
    const decipher = createDecipheriv('aes-256-gcm', dataKey, fields.nonce, {
      authTagLength: tagSizeBytes,
    });
    decipher.setAAD(Buffer.concat([Buffer.from(identityText(identity)), front]));
    decipher.setAuthTag(bytes.subarray(tagAt));
    const parts = decipher.update(bytes.subarray(sealedAt, tagAt));
    decipher.final();
    return parts;
  } catch (thrown) {
    throw new LayerRecordError('its seal does not hold', thrown);
  } finally {
    dataKey.fill(0);
  }
}
