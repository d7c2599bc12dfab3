/**
 * The hash of names in hashed directories: three shortened rounds of MD4 over 32 bytes at a time.
 * Source: kernel fs/ext4/hash.c and Documentation/filesystems/ext4/directory.rst.
 */

import type { ByteString } from '../base/index.ts';

/** Four words that stand in for MD4's initial state; all zero means MD4's own. */
export type HashSeed = readonly [number, number, number, number];

const md4InitialState: HashSeed = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
const roundTwo = 0x5a827999;
const roundThree = 0x6ed9eba1;

/** No hash may equal this one: it marks the end of a directory. */
const endOfDirectory = 0xfffffffe;

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

const select = (x: number, y: number, z: number): number => z ^ (x & (y ^ z));
const majority = (x: number, y: number, z: number): number => ((x & y) + ((x ^ y) & z)) | 0;
const parity = (x: number, y: number, z: number): number => x ^ y ^ z;

/** Which word each step of a round takes in, by how many bits it turns, and what it adds. */
const rounds = [
  { mixer: select, words: [0, 1, 2, 3, 4, 5, 6, 7], turns: [3, 7, 11, 19], adds: 0 },
  { mixer: majority, words: [1, 3, 5, 7, 0, 2, 4, 6], turns: [3, 5, 9, 13], adds: roundTwo },
  { mixer: parity, words: [3, 7, 2, 6, 1, 5, 0, 4], turns: [3, 9, 11, 15], adds: roundThree },
] as const;

/** The state after `block`, eight words. */
function transform(state: Int32Array, block: Int32Array): void {
  let [a, b, c, d] = state as unknown as [number, number, number, number];
  for (const { mixer, words, turns, adds } of rounds) {
    for (let step = 0; step < 8; step += 1) {
      const word = block[words[step] ?? 0] ?? 0;
      const turned = rotate((a + mixer(b, c, d) + word + adds) | 0, turns[step & 3] ?? 0);
      [a, b, c, d] = [d, turned, b, c];
    }
  }
  state[0] = (state[0] ?? 0) + a;
  state[1] = (state[1] ?? 0) + b;
  state[2] = (state[2] ?? 0) + c;
  state[3] = (state[3] ?? 0) + d;
}

/** Up to 32 bytes of `name` from `start` on as eight words, the rest filled with the length. */
function fillBlock(block: Int32Array, name: ByteString, start: number, signed: boolean): void {
  const left = name.length - start;
  const pad = Math.imul(left, 0x01010101);
  const taken = Math.min(left, 32);
  for (let word = 0; word < 8; word += 1) {
    let value = pad;
    for (let at = word * 4; at < Math.min(word * 4 + 4, taken); at += 1) {
      const byte = name.charCodeAt(start + at);
      value = (signed ? (byte << 24) >> 24 : byte) + (value << 8);
    }
    block[word] = value;
  }
}

/**
 * The major hash of a name of at most 255 bytes: 32 bits, unsigned, always even. `signed` is how the filesystem's maker read bytes
 * above 127 (`s_flags` tells); Thaw writes unsigned.
 */
export function halfMd4(name: ByteString, seed: HashSeed, signed = false): number {
  const state = Int32Array.from(seed.some((word) => word !== 0) ? seed : md4InitialState);
  const block = new Int32Array(8);
  for (let start = 0; start < name.length; start += 32) {
    fillBlock(block, name, start, signed);
    transform(state, block);
  }
  const hash = ((state[1] ?? 0) & ~1) >>> 0;
  return hash === endOfDirectory ? endOfDirectory - 2 : hash;
}
