/** XOR of four arrays of bytes, eight at a time. */

import { assert } from '../base/index.ts';

/** Of a `BigUint64Array`. */
const wordBytes = BigUint64Array.BYTES_PER_ELEMENT;

/**
 * Writes the XOR of the four `sources` over `target`. All have one length; `target` shares no memory with them. Bytes that do not lie at
 * addresses divisible by eight are copied to ones that do, and a length that eight does not divide ends byte by byte.
 *
 * Words of 64 bits cost a twentieth of bytes and a fifth of words of 32: a tenth of a SHA-256 (bench/xor-ways.bench.ts).
 */
export function xorInto(target: Uint8Array, sources: readonly Uint8Array[]): void {
  const [a, b, c, d, ...more] = sources;
  assert(a !== undefined && b !== undefined && c !== undefined && d !== undefined, 'Four sources');
  assert(more.length === 0, 'Four sources');
  if (target.byteOffset % wordBytes !== 0) {
    const aligned = new Uint8Array(target.byteLength);
    xorInto(aligned, sources);
    target.set(aligned);
    return;
  }
  xorWords(wordsOf(target), [wordsOf(a), wordsOf(b), wordsOf(c), wordsOf(d)]);
  for (let at = target.length - (target.length % wordBytes); at < target.length; at += 1) {
    target[at] = byteAt(a, at) ^ byteAt(b, at) ^ byteAt(c, at) ^ byteAt(d, at);
  }
}

type Words = BigUint64Array;

function xorWords(target: Words, [a, b, c, d]: readonly [Words, Words, Words, Words]): void {
  const { length } = target;
  for (let at = 0; at < length; at += 1) {
    // All are as long as the target. Anything but the bare reads makes a BigInt object of each word: 15x slower.
    target[at] = (a[at] as bigint) ^ (b[at] as bigint) ^ (c[at] as bigint) ^ (d[at] as bigint);
  }
}

/** The whole words of `bytes`: the same memory where it is aligned, else a copy. */
function wordsOf(bytes: Uint8Array): Words {
  const aligned = bytes.byteOffset % wordBytes === 0 ? bytes : new Uint8Array(bytes);
  return new BigUint64Array(
    aligned.buffer,
    aligned.byteOffset,
    Math.floor(aligned.byteLength / wordBytes),
  );
}

function byteAt(bytes: Uint8Array, index: number): number {
  return bytes[index] ?? 0;
}
