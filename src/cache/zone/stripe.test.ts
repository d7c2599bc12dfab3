import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';

import fc from 'fast-check';

import { present } from '../../base/index.ts';
import { encodeStripes, rebuildChunk, stripeCount } from '../../erasure/index.ts';
import {
  encodeStripe,
  parseStripe,
  stripeHeaderRecord,
  stripeKey,
  stripeKeySizeMaxBytes,
  type StripeChunk,
} from './stripe.ts';

const root = join(import.meta.dirname, '../../..');

/** The chunk of docs/formats/stripe.md. */
const ciphertext = Uint8Array.from({ length: 4096 }, (_, at) => Math.floor(at / 1024) + (at % 251));
const chunk = chunkOf(ciphertext);
const values = valuesOf(ciphertext);

function chunkOf(bytes: Uint8Array): StripeChunk {
  const ciphertextDigest = createHash('sha256').update(bytes).digest();
  return { ciphertextDigest, storedLengthBytes: bytes.byteLength };
}

/** What the five servers are given, each in memory of its own. */
function valuesOf(bytes: Uint8Array): Uint8Array[] {
  const { data, parity } = encodeStripes(bytes);
  return [...data, parity].map(
    (payload, index) => new Uint8Array(Buffer.concat(encodeStripe(chunkOf(bytes), index, payload))),
  );
}

/** With the checksum that goes with what it holds now. */
function resealed(value: Uint8Array): Uint8Array {
  const bytes = Buffer.from(value);
  const covered = Buffer.concat([bytes.subarray(0, 0x34), bytes.subarray(0x38)]);
  bytes.writeUInt32LE(crc32(covered), 0x34);
  return bytes;
}

function changed(value: Uint8Array, offset: number, byte: number): Uint8Array {
  const bytes = Uint8Array.from(value);
  bytes[offset] = byte;
  return bytes;
}

test('version 1 stays byte for byte what test/golden/stripe-v1.hex holds', async () => {
  const golden = await readFile(join(root, 'test/golden/stripe-v1.hex'), 'latin1');
  assert.equal(Buffer.from(values[4] ?? []).toString('hex'), golden.replaceAll('\n', ''));
});

test('docs/formats/stripe.md has the rows of the header and the name of its chunk', async () => {
  const document = await readFile(join(root, 'docs/formats/stripe.md'), 'utf8');
  assert.match(document, /`stripe_header`, 56 bytes/);
  const rows = [...document.matchAll(/^\| (0x[0-9a-f]+) \| (\w+) \| `(\w+)` \|/gm)];
  assert.deepEqual(
    rows.map(([, offset, type, field]) => [Number(offset), type, field]),
    [...stripeHeaderRecord.rows],
  );
  assert.ok(document.includes(`| name | \`${stripeKey(chunk)}\` |`));
});

test('a parsed stripe has its index, and its payload where 64-bit words can be read', () => {
  const parsed = values.map((value) => parseStripe(value, chunk));
  assert.deepEqual(
    parsed.map((stripe) => stripe.fault ?? stripe.index),
    [0, 1, 2, 3, 4],
  );
  const payloads = parsed.map((stripe) => {
    assert.ok(stripe.fault === undefined);
    assert.equal(stripe.payload.byteOffset % 8, 0);
    return stripe.payload;
  });
  for (let missing = 0; missing < stripeCount; missing += 1) {
    const four = payloads.map((payload, index) => (index === missing ? undefined : payload));
    assert.deepEqual([...rebuildChunk(four)], [...ciphertext]);
  }
});

test('a value with any one bit changed is not taken for a stripe', () => {
  const value = present(values[2], 'stripe 2');
  for (let bit = 0; bit < value.byteLength * 8; bit += 1) {
    const flipped = Uint8Array.from(value);
    flipped[bit >> 3] = present(value[bit >> 3], 'a byte') ^ (1 << (bit & 7));
    assert.ok(parseStripe(flipped, chunk).fault !== undefined, `bit ${bit}`);
  }
});

test('a value that ends early or late is not taken for a stripe', () => {
  const value = present(values[0], 'stripe 0');
  for (let end = 0; end < value.byteLength; end += 1) {
    const { fault } = parseStripe(value.subarray(0, end), chunk);
    assert.equal(fault, end < stripeHeaderRecord.sizeBytes ? 'short' : 'length');
  }
  assert.equal(parseStripe(Buffer.concat([value, Buffer.alloc(1)]), chunk).fault, 'length');
});

test('each fault has its name, also where the checksum is right', () => {
  const value = present(values[0], 'stripe 0');
  const faultOf = (bytes: Uint8Array) => parseStripe(resealed(bytes), chunk).fault;
  assert.equal(faultOf(value), undefined);
  assert.equal(faultOf(changed(value, 0x00, 0)), 'magic');
  assert.equal(faultOf(changed(value, 0x08, 2)), 'version');
  assert.equal(faultOf(changed(value, 0x0a, 3)), 'code');
  assert.equal(faultOf(changed(value, 0x0b, 5)), 'code');
  assert.equal(faultOf(changed(value, 0x0d, 0)), 'chunk');
  assert.equal(faultOf(changed(value, 0x10, 0)), 'chunk');
  assert.equal(parseStripe(changed(value, 0x34, 0), chunk).fault, 'checksum');
});

test('a sound stripe of another chunk is not taken for one of this', () => {
  const others = [ciphertext.toReversed(), Buffer.concat([ciphertext, ciphertext])];
  for (const value of others.flatMap(valuesOf)) {
    assert.equal(parseStripe(value, chunk).fault, 'chunk');
  }
});

test('any bytes at all give a stripe or a fault', () => {
  const header = stripeHeaderRecord.sizeBytes;
  const foreign = fc.oneof(
    fc.uint8Array({ maxLength: 2 * header }),
    fc
      .tuple(fc.nat(4), fc.uint8Array({ minLength: header, maxLength: header }))
      .map(([index, bytes]) => Buffer.concat([bytes, values[index]?.subarray(header) ?? bytes])),
  );
  fc.assert(
    fc.property(foreign, fc.boolean(), (bytes, isSealed) => {
      const isLong = bytes.byteLength >= header;
      assert.ok(parseStripe(isLong && isSealed ? resealed(bytes) : bytes, chunk).fault);
    }),
  );
});

test('the key is the digest behind the prefix, and what no server takes for a key is refused', () => {
  const hex = 'fc92812b2a18d555d1d5f8985fbb008a4519770c9ba23ac1329306f527d2c6dc';
  assert.equal(stripeKey(chunk), hex);
  assert.equal(stripeKey(chunk, 'thaw:'), `thaw:${hex}`);
  const longest = 'p'.repeat(stripeKeySizeMaxBytes - hex.length);
  assert.equal(stripeKey(chunk, longest).length, stripeKeySizeMaxBytes);
  for (const prefix of [`${longest}p`, 'a b', 'a\r\n', 'ü']) {
    assert.throws(() => stripeKey(chunk, prefix), { code: 'ERR_INTERNAL' }, prefix);
  }
});

test('what is no stripe of the chunk is not encoded', () => {
  const refused = { code: 'ERR_INTERNAL' };
  const payload = new Uint8Array(1024);
  for (const index of [-1, 5, 0.5, Number.NaN]) {
    assert.throws(() => encodeStripe(chunk, index, payload), refused, String(index));
  }
  assert.throws(() => encodeStripe(chunk, 0, payload.subarray(1)), refused);
});
