/**
 * A stripe as a cache server keeps it, format version 1: a header of fixed size, then the stripe's payload. `docs/formats/stripe.md`
 * shows the same rows and says what each means; a test holds the two together.
 *
 * The checksum tells which stripe is broken. It makes nothing right: a chunk is what its name says only if its SHA-256 is,
 * which whoever reads from a tier checks.
 */

import { crc32 } from 'node:zlib';

import { assert, layout, toHex, viewOf } from '../../base/index.ts';
import { dataStripeCount, stripeCount, stripeLength } from '../../erasure/index.ts';
import type { ChunkName } from '../cache-tier.ts';

/** `THAWSTRP` in ASCII. */
export const stripeMagic = Buffer.from('THAWSTRP', 'ascii');
/** Another version is another format: readers take such a stripe for one that is not there. */
export const stripeFormatVersion = 1;

/** Little-endian. A multiple of eight bytes, so that the payload stays where words of 64 bits can be read. */
export const stripeHeaderRecord = layout('stripe_header', 56, [
  [0x00, 'bytes8', 'magic'],
  [0x08, 'u16', 'format_version'],
  [0x0a, 'u8', 'data_stripe_count'],
  [0x0b, 'u8', 'stripe_index'],
  [0x0c, 'u32', 'chunk_length'],
  [0x10, 'bytes32', 'chunk_name'],
  [0x30, 'u32', '_reserved'],
  [0x34, 'u32', 'checksum'],
]);

/** What a value is longer than its payload. */
export const stripeHeaderSizeBytes = stripeHeaderRecord.sizeBytes;

/** `stripe_header.checksum` covers the header before it and the payload. */
const checksumOffset = 0x34;

/** Memcached's limit, and so ours. */
export const stripeKeySizeMaxBytes = 250;

/** What a stripe belongs to. The root does not matter: equal names are equal ciphertexts. */
export type StripeChunk = Pick<ChunkName, 'ciphertextDigest' | 'storedLengthBytes'>;

/** Why bytes are not a stripe of the chunk: the first rule of docs/formats/stripe.md that they break. */
export type StripeFault = 'short' | 'magic' | 'version' | 'code' | 'chunk' | 'length' | 'checksum';

/** What some bytes are: a stripe, whose payload is a view of them, or nothing of use. */
export type ParsedStripe =
  | { readonly index: number; readonly payload: Uint8Array; readonly fault?: undefined }
  | { readonly fault: StripeFault };

/**
 * What every stripe of the chunk is stored under, each on its own server: `prefix` and the digest in hex. The index is in the header and
 * not here, so that a server is asked for its stripe of the chunk, whichever that is.
 *
 * Throws `ERR_INTERNAL` if `prefix` has bytes that no key may have or makes it longer than `stripeKeySizeMaxBytes`.
 */
export function stripeKey(chunk: StripeChunk, prefix = ''): string {
  const key = prefix + toHex(chunk.ciphertextDigest);
  assert(/^[\x21-\x7e]+$/.test(key), 'The prefix of keys must be printable ASCII without spaces');
  assert(key.length <= stripeKeySizeMaxBytes, `The prefix of keys is too long: "${prefix}"`);
  return key;
}

/** The stripe's bytes in two parts: a fresh header, and `payload` itself. Throws `ERR_INTERNAL` if it is no stripe's. */
export function encodeStripe(
  chunk: StripeChunk,
  index: number,
  payload: Uint8Array,
): readonly [header: Uint8Array, payload: Uint8Array] {
  const { ciphertextDigest, storedLengthBytes } = chunk;
  assert(index >= 0 && index < stripeCount, `A chunk has no stripe ${index}`);
  assert(
    payload.byteLength === stripeLength(storedLengthBytes),
    `A stripe of ${storedLengthBytes} bytes has not ${payload.byteLength}`,
  );
  const header = stripeHeaderRecord.encode({
    magic: stripeMagic,
    format_version: stripeFormatVersion,
    data_stripe_count: dataStripeCount,
    stripe_index: index,
    chunk_length: storedLengthBytes,
    chunk_name: ciphertextDigest,
    checksum: 0,
  });
  header.writeUInt32LE(checksumOf(header, payload), checksumOffset);
  return [header, payload];
}

/** Reads what a server gave for a stripe of `chunk`. Never throws, whatever the bytes. */
export function parseStripe(value: Uint8Array, chunk: StripeChunk): ParsedStripe {
  const stripe = readStripe(value, chunk);
  if (stripe.fault !== undefined || hasItsChecksum(value)) return stripe;
  return { fault: 'checksum' };
}

/** As `parseStripe`, but what the stripe holds may be anything: for who asks the whole chunk's hash before he asks `hasItsChecksum`. */
export function readStripe(value: Uint8Array, chunk: StripeChunk): ParsedStripe {
  if (value.byteLength < stripeHeaderSizeBytes) return { fault: 'short' };
  const fields = stripeHeaderRecord.decode(value);
  const payload = value.subarray(stripeHeaderSizeBytes);
  if (!stripeMagic.equals(fields.magic)) return { fault: 'magic' };
  if (fields.format_version !== stripeFormatVersion) return { fault: 'version' };
  if (fields.data_stripe_count !== dataStripeCount || fields.stripe_index >= stripeCount) {
    return { fault: 'code' };
  }
  const { ciphertextDigest, storedLengthBytes } = chunk;
  if (fields.chunk_length !== storedLengthBytes) return { fault: 'chunk' };
  if (!viewOf(fields.chunk_name).equals(ciphertextDigest)) return { fault: 'chunk' };
  if (payload.byteLength !== stripeLength(storedLengthBytes)) return { fault: 'length' };
  return { index: fields.stripe_index, payload };
}

/** Whether a value that has a stripe's header and length is the stripe that was written. */
export function hasItsChecksum(value: Uint8Array): boolean {
  const payload = value.subarray(stripeHeaderSizeBytes);
  return viewOf(value).readUInt32LE(checksumOffset) === checksumOf(value, payload);
}

function checksumOf(header: Uint8Array, payload: Uint8Array): number {
  return crc32(payload, crc32(header.subarray(0, checksumOffset)));
}
