import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createDecipheriv, createHash, createHmac, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';

import * as fc from 'fast-check';

import {
  chunkKeyLabels,
  chunkLengthMax,
  defaultChunkSizeBytes,
  openChunk,
  sealChunk,
  storedLength,
  type SealedChunk,
  type SealedChunkRef,
} from './codec.ts';
import { compressedStepBytes } from './compressed-form.ts';
import type { ChunkCodec } from './manifest.ts';

const salt = Buffer.alloc(32, 0xa5);
const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

/** The raw output of openssl, an implementation that shares nothing with ours but the standard. */
function openssl(args: readonly string[], input: Uint8Array): Buffer {
  const { status, stdout, stderr } = spawnSync('openssl', args, { input, maxBuffer: 2 ** 24 });
  assert.equal(status, 0, stderr.toString());
  return stdout;
}

function opensslHmac(key: Uint8Array, message: Uint8Array): Buffer {
  const hexKey = `hexkey:${Buffer.from(key).toString('hex')}`;
  return openssl(['dgst', '-sha256', '-mac', 'HMAC', '-macopt', hexKey, '-binary'], message);
}

/** A plaintext of 1..4 blocks with some bytes set. */
const plaintexts = fc
  .tuple(
    fc.integer({ min: 1, max: 4 }),
    fc.array(fc.tuple(fc.nat(4 * 4096 - 1), fc.nat(255)), { maxLength: 20 }),
  )
  .map(([blocks, bytes]) => {
    const plaintext = new Uint8Array(blocks * 4096);
    for (const [at, value] of bytes) plaintext[at % plaintext.byteLength] = value;
    return plaintext;
  });

const nonZeroPlaintexts = plaintexts.filter((plaintext) => plaintext.some((byte) => byte !== 0));

function sealed(
  plaintext: Uint8Array,
  under: Uint8Array = salt,
  codec: ChunkCodec = 'none',
): SealedChunk {
  const chunk = sealChunk(plaintext, under, codec);
  assert.ok(chunk !== undefined);
  return chunk;
}

function refOf(chunk: SealedChunk): SealedChunkRef {
  return { ...chunk, lengthMaxBytes: defaultChunkSizeBytes };
}

/** Lines of text: what compresses. */
function text(lengthBytes: number): Buffer {
  return Buffer.alloc(lengthBytes, 'deduplicated better than anyone, in bounded memory\n');
}

test(
  'sealChunk() gives what openssl computes after docs/formats/chunk.md',
  {
    skip: hasOpenssl ? false : 'needs openssl',
  },
  () => {
    const plaintext = Buffer.alloc(defaultChunkSizeBytes);
    for (let at = 0; at < 9000; at += 1) plaintext[at] = (at * 31) % 251;
    const stored = plaintext.subarray(0, 12_288);
    const digest = openssl(['dgst', '-sha256', '-binary'], stored);
    const key = opensslHmac(salt, Buffer.concat([Buffer.from(chunkKeyLabels.none), digest]));
    const zeroIv = '0'.repeat(32);
    const ciphertext = openssl(
      ['enc', '-aes-256-ctr', '-K', key.toString('hex'), '-iv', zeroIv],
      stored,
    );

    const chunk = sealed(plaintext);
    assert.equal(chunk.storedLengthBytes, 12_288);
    assert.deepEqual(chunk.key, key);
    assert.deepEqual(chunk.ciphertext, ciphertext);
    assert.deepEqual(chunk.ciphertextDigest, openssl(['dgst', '-sha256', '-binary'], ciphertext));
  },
);

test('sealChunk() gives the test vector of docs/formats/chunk.md, which openssl computed', async () => {
  const path = join(import.meta.dirname, '../../docs/formats/chunk.md');
  const rows = (await readFile(path, 'utf8')).matchAll(/^\| (.+) \| `([0-9a-f]+)` \|$/gm);
  const vector = new Map([...rows].map(([, what, value]) => [what, value]));
  const chunk = sealed(Buffer.alloc(4096, 'thaw'), Buffer.alloc(32));
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  assert.equal(hex(chunk.key), vector.get('key'));
  assert.equal(hex(chunk.ciphertext.subarray(0, 16)), vector.get('ciphertext, first 16 bytes'));
  assert.equal(hex(chunk.ciphertextDigest), vector.get('name'));
});

test('sealChunk() elides a chunk of zeros', () => {
  assert.equal(sealChunk(new Uint8Array(defaultChunkSizeBytes), salt), undefined);
});

test('storedLength() ends after the block of the last byte that is not zero', () => {
  for (const [at, expected] of [
    [0, 4096],
    [4095, 4096],
    [4096, 8192],
    [16_383, 16_384],
  ] as const) {
    const plaintext = new Uint8Array(16_384);
    plaintext[at] = 1;
    assert.equal(storedLength(plaintext), expected);
  }
});

test('storedLength() looks at the bytes of a view only', () => {
  const whole = new Uint8Array(3 * 4096).fill(1);
  whole.fill(0, 4096, 8192);
  assert.equal(storedLength(whole.subarray(4096, 8192)), 0);
});

test('sealChunk() refuses lengths that are no whole blocks, and short salts', () => {
  for (const length of [0, 1, 4095, 4097]) {
    assert.throws(() => sealChunk(new Uint8Array(length), salt), { code: 'ERR_INTERNAL' });
  }
  assert.throws(() => sealChunk(new Uint8Array(4096).fill(1), salt.subarray(1)), {
    code: 'ERR_INTERNAL',
  });
});

test('openChunk() gives back the plaintext that sealChunk() was given, zeros at the end left out', () => {
  fc.assert(
    fc.property(nonZeroPlaintexts, (plaintext) => {
      const chunk = sealed(plaintext);
      const opened = openChunk(refOf(chunk), chunk.ciphertext);
      assert.equal(opened.byteLength, chunk.storedLengthBytes);
      assert.ok(Buffer.from(plaintext.subarray(0, opened.byteLength)).equals(opened));
      assert.ok(plaintext.subarray(opened.byteLength).every((byte) => byte === 0));
    }),
  );
});

test('openChunk() detects every flipped bit, and bytes lost or added', () => {
  fc.assert(
    fc.property(nonZeroPlaintexts, fc.nat(), fc.nat(7), (plaintext, at, bit) => {
      const chunk = sealed(plaintext);
      const ref = refOf(chunk);
      const flipped = Buffer.from(chunk.ciphertext);
      const position = at % flipped.byteLength;
      flipped[position] = (flipped[position] ?? 0) ^ (1 << bit);
      const longer = Buffer.concat([chunk.ciphertext, Buffer.alloc(1)]);
      for (const wrong of [flipped, flipped.subarray(1), longer, new Uint8Array()]) {
        assert.throws(() => openChunk(ref, wrong), { code: 'ERR_CHUNK_CORRUPT', fault: 'data' });
      }
    }),
  );
});

test('sealChunk() is convergent: equal plaintext and salt give equal results, whatever lies after in zeros', () => {
  fc.assert(
    fc.property(nonZeroPlaintexts, fc.integer({ min: 0, max: 3 }), (plaintext, blocks) => {
      const longer = Buffer.concat([plaintext, Buffer.alloc(blocks * 4096)]);
      assert.deepEqual(sealed(longer), sealed(Buffer.from(plaintext)));
    }),
  );
});

test('sealChunk() under another salt shares neither key, ciphertext nor name', () => {
  fc.assert(
    fc.property(nonZeroPlaintexts, fc.nat(255), (plaintext, bit) => {
      const otherSalt = Buffer.from(salt);
      otherSalt[bit >> 3] = (otherSalt[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const one = sealed(plaintext);
      const other = sealed(plaintext, otherSalt);
      assert.notDeepEqual(one.key, other.key);
      assert.notDeepEqual(one.ciphertextDigest, other.ciphertextDigest);
      assert.notDeepEqual(one.ciphertext, other.ciphertext);
    }),
  );
});

test('sealChunk() of other plaintext shares neither key, ciphertext nor name', () => {
  fc.assert(
    fc.property(nonZeroPlaintexts, fc.nat(4095), (plaintext, at) => {
      const changed = Buffer.from(plaintext);
      changed[at] = (changed[at] ?? 0) ^ 0x55;
      const one = sealed(plaintext);
      const other = sealChunk(changed, salt);
      assert.notDeepEqual(other?.key, one.key);
      assert.notDeepEqual(other?.ciphertextDigest, one.ciphertextDigest);
    }),
  );
});

test('chunkLengthMax() is the size of a chunk, or what the disk has left for the last one', () => {
  const disk = { chunkSizeBytes: 524_288, diskSizeBytes: 524_288 + 8192 };
  assert.equal(chunkLengthMax(disk, 0), 524_288);
  assert.equal(chunkLengthMax(disk, 1), 8192);
});

test('sealChunk() compresses a chunk only where that is asked for and pays', () => {
  const chunk = text(524_288);
  assert.equal(sealed(chunk).codec, 'none');
  const compressed = sealed(chunk, salt, 'zstd-v1');
  assert.equal(compressed.codec, 'zstd-v1');
  assert.equal(compressed.storedLengthBytes, compressedStepBytes);
  const noise = randomBytes(524_288);
  assert.deepEqual(sealed(noise, salt, 'zstd-v1'), sealed(noise));
  assert.equal(sealChunk(new Uint8Array(524_288), salt, 'zstd-v1'), undefined);
});

test('openChunk() gives back what was compressed, zeros at its end left out', () => {
  const plaintext = Buffer.concat([text(100_000), Buffer.alloc(524_288 - 100_000)]);
  const chunk = sealed(plaintext, salt, 'zstd-v1');
  const opened = openChunk(refOf(chunk), chunk.ciphertext);
  assert.equal(opened.byteLength, 102_400);
  assert.ok(plaintext.subarray(0, opened.byteLength).equals(opened));
});

test('the key of a compressed chunk comes from the very bytes that are encrypted', () => {
  const plaintext = text(524_288);
  const { key, ciphertext } = sealed(plaintext, salt, 'zstd-v1');
  const form = createDecipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(ciphertext);
  const digest = createHash('sha256').update(form).digest();
  const message = Buffer.concat([Buffer.from('thaw/chunk-key/v1/zstd-v1'), digest]);
  assert.deepEqual(key, createHmac('sha256', salt).update(message).digest());
  const frame = form.subarray(8, 8 + form.readUInt32LE(4));
  assert.equal(form.readUInt32LE(0), plaintext.byteLength);
  assert.ok(zstdDecompressSync(frame).equals(plaintext));
});

test('one chunk has one key, name and ciphertext per codec, and equal ones per codec and salt', () => {
  const plaintexts = fc
    .tuple(fc.integer({ min: 6, max: 40 }), fc.uint8Array({ minLength: 1, maxLength: 100 }))
    .map(([blocks, unit]) => Buffer.alloc(blocks * 4096, Buffer.concat([unit, Buffer.from([1])])));
  fc.assert(
    fc.property(plaintexts, (plaintext) => {
      const plain = sealed(plaintext);
      const compressed = sealed(plaintext, salt, 'zstd-v1');
      assert.equal(compressed.codec, 'zstd-v1');
      assert.notDeepEqual(compressed.key, plain.key);
      assert.notDeepEqual(compressed.ciphertextDigest, plain.ciphertextDigest);
      assert.deepEqual(sealed(Buffer.from(plaintext), salt, 'zstd-v1'), compressed);
    }),
    { numRuns: 50 },
  );
});

test('the same bytes under two codecs have two keys: a compressed form can itself be a plaintext', () => {
  const compressed = sealed(text(524_288), salt, 'zstd-v1');
  const form = createDecipheriv('aes-256-ctr', compressed.key, Buffer.alloc(16)).update(
    compressed.ciphertext,
  );
  const asPlaintext = sealed(form);
  const used = form.subarray(0, asPlaintext.storedLengthBytes);
  assert.notDeepEqual(asPlaintext.key, compressed.key);
  assert.notDeepEqual(asPlaintext.ciphertext, compressed.ciphertext.subarray(0, used.byteLength));
});

test('openChunk() takes verified bytes that are no compressed form for an unreadable chunk, not a corrupt one', () => {
  for (const [plaintext, lengthMaxBytes] of [
    [text(65_536), 65_536], // never compressed
    [randomBytes(16_384), 65_536],
  ] as const) {
    const chunk = sealed(plaintext);
    const ref: SealedChunkRef = { ...chunk, codec: 'zstd-v1', lengthMaxBytes };
    assert.throws(() => openChunk(ref, chunk.ciphertext), { code: 'ERR_CHUNK_UNREADABLE' });
  }
  const chunk = sealed(text(65_536), salt, 'zstd-v1');
  const ref: SealedChunkRef = { ...chunk, lengthMaxBytes: 65_536 - 4096 };
  assert.throws(() => openChunk(ref, chunk.ciphertext), { code: 'ERR_CHUNK_UNREADABLE' });
});

test('an error of openChunk() names the chunk and no key', () => {
  const chunk = sealed(new Uint8Array(4096).fill(1));
  assert.throws(
    () => openChunk(refOf(chunk), new Uint8Array(4096)),
    (thrown: Error) => {
      assert.match(thrown.message, new RegExp(Buffer.from(chunk.ciphertextDigest).toString('hex')));
      assert.doesNotMatch(thrown.message, new RegExp(Buffer.from(chunk.key).toString('hex')));
      return true;
    },
  );
});
