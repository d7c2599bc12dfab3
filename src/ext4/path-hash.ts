/**
 * The hash by which paths choose addresses and cutting points: FNV-1a with the finaliser of MurmurHash3, because
 * FNV alone mixes its high bits badly. Not cryptographic: whoever picks names to collide makes their own image share less.
 */

import type { ByteString } from '../base/index.ts';

/** 32 bits, unsigned. */
export function pathHash(path: ByteString): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < path.length; index += 1) {
    hash = Math.imul(hash ^ path.charCodeAt(index), 0x01000193);
  }
  return mix(hash);
}

/**
 * Which of `count` places (fewer than 2^31) a hash names. `| 0` says to V8 that it is a small integer: a field that ever held
 * what might be a fraction is boxed from then on, 16 bytes in every object of its kind.
 */
export function hashedPlace(hash: number, count: number): number {
  return (hash % count) | 0;
}

/** Spreads 32 bits evenly: a hash of a hash. */
export function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
