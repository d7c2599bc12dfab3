import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { errorCode } from '../base/index.ts';
import {
  decodeManifest,
  decodeManifestHeader,
  encodeManifest,
  manifestId,
  manifestLock,
} from './manifest-codec.ts';
import { manifestChunkRecord, manifestHeaderRecord } from './manifest-layout.ts';
import type { Manifest } from './manifest.ts';
import { fullManifest, manifests } from './testing/sample-manifest.ts';

const dataKey = { plaintext: Buffer.alloc(32, 0x11), wrapped: Buffer.alloc(60, 0x22) };
const seal = { dataKey, nonce: Buffer.alloc(12, 0x33) };

/** With every array of bytes as hex, so that `Buffer` and `Uint8Array` compare equal. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

function headerOf({ chunkKeys: _keys, imageDocument: _document, ...header }: Manifest): unknown {
  return plain(header);
}

/**
 * The manifest with other header fields and, where given, another chunk table entry, sealed
 * correctly: a decoder that trusts the seal alone would take it.
 */
function forged(
  manifest: Manifest,
  change: {
    readonly header?: Partial<ReturnType<typeof manifestHeaderRecord.decode>>;
    readonly chunk?: Partial<ReturnType<typeof manifestChunkRecord.decode>>;
    readonly chunkPosition?: number;
  },
): Buffer {
  const bytes = Buffer.from(encodeManifest(manifest, seal));
  const header = { ...manifestHeaderRecord.decode(bytes), ...change.header };
  manifestHeaderRecord.encodeInto(bytes, 0, header);
  const chunkAt =
    manifestHeaderRecord.sizeBytes + (change.chunkPosition ?? 0) * manifestChunkRecord.sizeBytes;
  if (change.chunk !== undefined) {
    const chunk = { ...manifestChunkRecord.decode(bytes, chunkAt), ...change.chunk };
    manifestChunkRecord.encodeInto(bytes, chunkAt, chunk);
  }
  const secrets = Buffer.concat([...manifest.chunkKeys, manifest.imageDocument]);
  const sealedAt = bytes.byteLength - 16 - secrets.byteLength;
  const cipher = createCipheriv('aes-256-gcm', dataKey.plaintext, seal.nonce);
  cipher.setAAD(bytes.subarray(0, sealedAt));
  bytes.set(Buffer.concat([cipher.update(secrets), cipher.final()]), sealedAt);
  bytes.set(cipher.getAuthTag(), bytes.byteLength - 16);
  return bytes;
}

test('decodeManifest() gives back what encodeManifest() was given', () => {
  fc.assert(
    fc.property(manifests, (manifest) => {
      const bytes = encodeManifest(manifest, seal);
      assert.deepEqual(plain(decodeManifest(bytes, dataKey.plaintext)), plain(manifest));
      assert.deepEqual(plain(decodeManifestHeader(bytes)), headerOf(manifest));
    }),
  );
});

test('decodeManifest() holds no view of the bytes it was given', () => {
  const manifest = fullManifest(3, Buffer.from('document'));
  const bytes = encodeManifest(manifest, seal);
  const decoded = decodeManifest(bytes, dataKey.plaintext);
  bytes.fill(0xff);
  assert.deepEqual(plain(decoded), plain(manifest));
});

test('manifestLock() gives the root and the wrapped key', () => {
  const bytes = encodeManifest(fullManifest(2, Buffer.alloc(0)), seal);
  const lock = manifestLock(bytes);
  assert.equal(lock.rootId, 'root-1');
  assert.deepEqual(lock.wrappedKey, dataKey.wrapped);
});

test('decodeManifest() detects every flipped bit of a manifest', () => {
  const bytes = Buffer.from(encodeManifest(fullManifest(3, Buffer.from('{"a":1}')), seal));
  for (let at = 0; at < bytes.byteLength; at += 1) {
    for (let bit = 0; bit < 8; bit += 1) {
      bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
      assert.throws(
        () => decodeManifest(bytes, dataKey.plaintext),
        (thrown) => (errorCode(thrown) ?? '').startsWith('ERR_CHUNK_MANIFEST_'),
        `bit ${bit} of byte ${at}`,
      );
      bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
    }
  }
});

test('decodeManifest() refuses a manifest of every other length', () => {
  const bytes = Buffer.from(encodeManifest(fullManifest(2, Buffer.from('{}')), seal));
  for (let length = 0; length < bytes.byteLength; length += 1) {
    const code = length < 8 ? 'ERR_CHUNK_MANIFEST_UNRECOGNIZED' : 'ERR_CHUNK_MANIFEST_SIZE';
    assert.throws(() => decodeManifestHeader(bytes.subarray(0, length)), { code });
    assert.throws(() => decodeManifest(bytes.subarray(0, length), dataKey.plaintext), { code });
  }
  const longer = Buffer.concat([bytes, Buffer.alloc(1)]);
  assert.throws(() => decodeManifestHeader(longer), { code: 'ERR_CHUNK_MANIFEST_SIZE' });
});

test('decodeManifest() refuses another data key', () => {
  const bytes = encodeManifest(fullManifest(2, Buffer.from('{}')), seal);
  assert.throws(() => decodeManifest(bytes, Buffer.alloc(32)), { code: 'ERR_CHUNK_MANIFEST_SEAL' });
});

test('decoding random bytes throws a coded error, whatever they are', () => {
  const header = Buffer.from(encodeManifest(fullManifest(2, Buffer.from('{}')), seal)).subarray(
    0,
    12,
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (random, withMagic) => {
      const bytes = withMagic ? Buffer.concat([header, random]) : random;
      for (const decode of [decodeManifestHeader, manifestLock]) {
        assert.throws(
          () => decode(bytes),
          (thrown) => (errorCode(thrown) ?? '').startsWith('ERR_CHUNK_MANIFEST_'),
        );
      }
    }),
    { numRuns: 2000 },
  );
});

test('decodeManifestHeader() of a manifest with random bytes in it throws a coded error or keeps the rules', () => {
  const valid = encodeManifest(fullManifest(4, Buffer.from('{}')), seal);
  const edits = fc.array(fc.tuple(fc.nat(valid.byteLength - 1), fc.nat(255)), { maxLength: 4 });
  fc.assert(
    fc.property(edits, (changes) => {
      const bytes = Buffer.from(valid);
      for (const [at, value] of changes) bytes[at] = value;
      try {
        const header = decodeManifestHeader(bytes);
        assert.ok(header.chunks.length <= 4);
        const ends = header.chunks.map(
          (c) => c.index * header.chunkSizeBytes + c.storedLengthBytes,
        );
        assert.ok(ends.every((end) => end <= header.diskSizeBytes));
      } catch (thrown) {
        assert.match(errorCode(thrown) ?? '', /^ERR_CHUNK_MANIFEST_/);
      }
    }),
    { numRuns: 2000 },
  );
});

test('decodeManifestHeader() refuses a header that claims more than there is, before it makes room for it', () => {
  const manifest = fullManifest(1, Buffer.alloc(0));
  const huge = 2 ** 32 - 1;
  for (const header of [
    { chunk_count: huge },
    { chunk_count: 2 ** 24 + 1, sealed_length: 32 * (2 ** 24 + 1) },
    { sealed_length: huge },
    { wrapped_key_length: 513 },
    { wrapped_key_length: 0 },
    { sealed_length: 31 },
    { sealed_length: 32 + 1024 * 1024 + 1 },
  ]) {
    assert.throws(() => decodeManifestHeader(forged(manifest, { header })), {
      code: 'ERR_CHUNK_MANIFEST_MALFORMED',
    });
  }
  assert.throws(
    () =>
      decodeManifestHeader(
        forged(manifest, { header: { chunk_count: 2 ** 24, sealed_length: 2 ** 29 } }),
      ),
    { code: 'ERR_CHUNK_MANIFEST_SIZE' },
  );
});

test('decodeManifest() holds every rule even of a manifest with a valid seal', () => {
  const manifest = fullManifest(3, Buffer.from('{}'));
  const rootId = (text: string): Buffer =>
    Buffer.concat([Buffer.from(text), Buffer.alloc(64)]).subarray(0, 64);
  const cases: readonly [string, Parameters<typeof forged>[1]][] = [
    ['flags', { header: { flags: 1 } }],
    ['chunk size', { header: { chunk_size: 524_287 } }],
    ['chunk size', { header: { chunk_size: 2048 } }],
    ['chunk size', { header: { chunk_size: 0 } }],
    ['chunk size', { header: { chunk_size: 2 ** 25 } }],
    ['disk size', { header: { disk_size: 0n } }],
    ['disk size', { header: { disk_size: 524_288n * 3n + 1n } }],
    ['disk size', { header: { disk_size: 2n ** 53n } }],
    ['past the disk', { header: { disk_size: 524_288n * 3n - 4096n } }],
    ['root id', { header: { root_id_length: 0, root_id: rootId('') } }],
    ['root id', { header: { root_id_length: 5 } }],
    ['root id', { header: { root_id_length: 7 } }],
    ['root id', { header: { root_id_length: 65 } }],
    ['root id', { header: { root_id_length: 3, root_id: rootId('a/b') } }],
    ['root id', { header: { root_id_length: 2, root_id: rootId('..') } }],
    ['root id', { header: { root_id_length: 2, root_id: rootId('ä') } }],
    ['codec', { chunk: { codec: 2 } }],
    ['stores 20480 bytes', { chunk: { codec: 1, stored_length: 20_480 } }],
    ['index 0 does not rise', { chunk: { chunk_index: 0 }, chunkPosition: 1 }],
    ['index 2 does not rise', { chunk: { chunk_index: 2 }, chunkPosition: 1 }],
    ['past the disk', { chunk: { chunk_index: 2 ** 32 - 1 }, chunkPosition: 2 }],
    ['stores 0 bytes', { chunk: { stored_length: 0 } }],
    ['stores 4095 bytes', { chunk: { stored_length: 4095 } }],
    ['more than a chunk', { chunk: { stored_length: 524_288 + 4096 } }],
  ];
  assert.doesNotThrow(() => decodeManifest(forged(manifest, {}), dataKey.plaintext));
  for (const [words, change] of cases) {
    assert.throws(
      () => decodeManifest(forged(manifest, change), dataKey.plaintext),
      (thrown: Error) => {
        assert.equal(errorCode(thrown), 'ERR_CHUNK_MANIFEST_MALFORMED');
        assert.match(thrown.message, new RegExp(words));
        return true;
      },
      words,
    );
  }
});

test('decodeManifest() refuses another format version and says which it reads', () => {
  const bytes = forged(fullManifest(1, Buffer.alloc(0)), { header: { format_version: 2 } });
  assert.throws(() => decodeManifestHeader(bytes), {
    code: 'ERR_CHUNK_MANIFEST_VERSION',
    message: /version 2: this Thaw reads version 1/,
  });
});

test('encodeManifest() refuses what the format cannot hold', () => {
  const manifest = fullManifest(2, Buffer.from('{}'));
  const [first, second] = manifest.chunks;
  assert.ok(first !== undefined && second !== undefined);
  for (const wrong of [
    { imageDocument: new Uint8Array(1024 * 1024 + 1) },
    { rootId: 'a/b' },
    { rootId: 'x'.repeat(65) },
    { diskFormatVersion: -1 },
    { diskSizeBytes: 1.5 },
    { chunks: [second, first] },
    { chunks: [first] },
    { chunks: [first, { ...second, ciphertextDigest: new Uint8Array(31) }] },
    { chunkKeys: [new Uint8Array(32), new Uint8Array(31)] },
  ]) {
    assert.throws(() => encodeManifest({ ...manifest, ...wrong }, seal), {
      code: 'ERR_CHUNK_MANIFEST_UNENCODABLE',
    });
  }
  const longKey = { ...seal, dataKey: { ...dataKey, wrapped: new Uint8Array(513) } };
  assert.throws(() => encodeManifest(manifest, longKey), {
    code: 'ERR_CHUNK_MANIFEST_UNENCODABLE',
  });
  assert.doesNotThrow(() =>
    encodeManifest({ ...manifest, imageDocument: new Uint8Array(1024 * 1024) }, seal),
  );
});

test('decodeManifest() tells compressed chunks from others', () => {
  const manifest = fullManifest(3, Buffer.from('{}'));
  const chunks = manifest.chunks.map((chunk, position) =>
    position === 1 ? { ...chunk, codec: 'zstd-v1' as const, storedLengthBytes: 16_384 } : chunk,
  );
  const bytes = encodeManifest({ ...manifest, chunks }, seal);
  const decoded = decodeManifest(bytes, dataKey.plaintext);
  assert.deepEqual(
    decoded.chunks.map(({ codec, storedLengthBytes }) => [codec, storedLengthBytes]),
    [
      ['none', 524_288],
      ['zstd-v1', 16_384],
      ['none', 524_288],
    ],
  );
});

test('the manifest of 16 GiB stored in full is under 3 MiB', () => {
  const manifest = fullManifest(32_768, new Uint8Array(64 * 1024));
  const bytes = encodeManifest(manifest, seal);
  assert.ok(bytes.byteLength < 3 * 1024 * 1024, `${bytes.byteLength} bytes`);
  assert.equal(decodeManifest(bytes, dataKey.plaintext).chunks.length, 32_768);
});

test('the sealed section shows nothing of keys and document', () => {
  const document = Buffer.from('a document that must not be seen');
  const bytes = Buffer.from(encodeManifest(fullManifest(2, document), seal));
  assert.ok(!bytes.includes(document));
  assert.ok(!bytes.includes(Buffer.alloc(32, 1)));
});

test('version 1 stays byte for byte what test/golden/manifest-v1.hex holds', async () => {
  const golden = join(import.meta.dirname, '../../test/golden/manifest-v1.hex');
  const expected = (await readFile(golden, 'latin1')).replaceAll(/\s/g, '');
  const manifest = fullManifest(3, Buffer.from('{"reference":"golden"}'));
  const bytes = encodeManifest(manifest, seal);
  assert.equal(Buffer.from(bytes).toString('hex'), expected);
  assert.equal(
    manifestId(bytes),
    '86198fc6baf574d2d1412d3df82c404dd31676f68e665deb3a01483d85321cc2',
  );
});
