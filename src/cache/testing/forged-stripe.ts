/** What only the hash of the whole chunk can tell from a stripe. */

import { encodeStripe, stripeHeaderRecord, stripeHeaderSizeBytes } from '../zone/stripe.ts';
import type { SimulatedZoneServer } from './simulated-zone-server.ts';

/** A stripe of the same chunk and index, well-formed, with a bit of its payload changed. */
function forgedStripe(value: Uint8Array): Uint8Array {
  const fields = stripeHeaderRecord.decode(value);
  const payload = value.slice(stripeHeaderSizeBytes);
  payload[0] = (payload[0] ?? 0) ^ 1;
  const chunk = { ciphertextDigest: fields.chunk_name, storedLengthBytes: fields.chunk_length };
  return Buffer.concat(encodeStripe(chunk, fields.stripe_index, payload));
}

/** Forges the stripes that a server has, at most so many. */
export function forgeStripes({ values }: SimulatedZoneServer, countMax = Infinity): void {
  for (const [key, value] of [...values].slice(0, countMax)) values.set(key, forgedStripe(value));
}
