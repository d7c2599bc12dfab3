import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, hash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { constants, zstdCompressSync } from 'node:zlib';

import * as fc from 'fast-check';

import {
  compress,
  compressedHeaderRecord,
  compressedStepBytes,
  decompress,
} from './compressed-form.ts';

const chunkSizeBytes = 512 * 1024;
const hasZstd = spawnSync('zstd', ['--version']).status === 0;

/** Half noise that no compressor shortens, half text: from SHA-256 alone, so the same everywhere. */
function sample(lengthBytes: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < lengthBytes; at += 64) {
    const noise = createHash('sha256').update(`${at}`).digest();
    parts.push(
      noise,
      Buffer.from(`${noise.toString('hex', 0, 4)} of a chunk of ext4 \n`.padStart(32)),
    );
  }
  return Buffer.concat(parts).subarray(0, lengthBytes);
}

function formOf(plaintext: Uint8Array): Buffer {
  const form = compress(plaintext);
  assert.ok(form !== undefined);
  return Buffer.from(form);
}

/** A form with this header and frame, whatever they say. */
function forged(
  plaintextLength: number,
  frame: Uint8Array,
  frameLength = frame.byteLength,
): Buffer {
  const header = { plaintext_length: plaintextLength, frame_length: frameLength };
  const bytes = Buffer.concat([compressedHeaderRecord.encode(header), frame]);
  const padding = compressedStepBytes - (bytes.byteLength % compressedStepBytes);
  return Buffer.concat([bytes, Buffer.alloc(padding)]);
}

test('decompress() gives back what compress() was given', () => {
  const units = fc.uint8Array({ minLength: 1, maxLength: 5000 });
  fc.assert(
    fc.property(fc.integer({ min: 6, max: 128 }), units, (blocks, unit) => {
      const plaintext = Buffer.alloc(blocks * 4096, unit);
      const opened = decompress(formOf(plaintext), chunkSizeBytes);
      assert.ok(typeof opened !== 'string', String(opened));
      assert.ok(plaintext.equals(opened));
    }),
  );
});

test('a compressed form is whole steps long, ends in zeros and says no more than it needs', () => {
  const form = formOf(sample(chunkSizeBytes));
  assert.equal(form.byteLength % compressedStepBytes, 0);
  const header = compressedHeaderRecord.decode(form);
  const end = 8 + header.frame_length;
  assert.ok(form.byteLength - end < compressedStepBytes);
  assert.ok(form.subarray(end).every((byte) => byte === 0));
});

test('compress() of what it cannot make an eighth shorter, padding counted, is undefined', () => {
  assert.equal(compress(randomBytes(chunkSizeBytes)), undefined);
  // One step is an eighth less than 18,725 bytes or more.
  assert.equal(compress(Buffer.alloc(16_384, 'a')), undefined);
  assert.equal(compress(Buffer.alloc(20_480, 'a'))?.byteLength, 16_384);
  // 448 KiB is the most for a whole chunk; the header is 8 bytes of it.
  const noisy = (kibibytes: number): Buffer =>
    Buffer.concat([randomBytes(kibibytes * 1024), Buffer.alloc(chunkSizeBytes - kibibytes * 1024)]);
  assert.equal(compress(noisy(447))?.byteLength, 448 * 1024);
  assert.equal(compress(noisy(448)), undefined);
});

test('zstd itself reads the frame of a form', { skip: hasZstd ? false : 'needs zstd' }, () => {
  const plaintext = sample(chunkSizeBytes);
  const form = formOf(plaintext);
  const frame = form.subarray(8, 8 + compressedHeaderRecord.decode(form).frame_length);
  const { status, stdout } = spawnSync('zstd', ['-d', '-c'], { input: frame, maxBuffer: 2 ** 21 });
  assert.equal(status, 0);
  assert.ok(plaintext.equals(stdout));
});

/**
 * If this fails on another Node, its zstd compresses to other bytes. Everything stored stays readable; but chunks published by the
 * old and the new Node are not shared. To keep "equal chunks have equal forms" true of a codec's name, make it
 * `zstd-v2` for what is published from now on, and read both.
 */
test("codec zstd-v1 is what this Node's zstd makes: the forms have the digests that they always had", () => {
  const digestOf = (plaintext: Uint8Array): string => hash('sha256', formOf(plaintext), 'hex');
  assert.deepEqual(
    { half: digestOf(sample(chunkSizeBytes)), text: digestOf(Buffer.alloc(40_960, 'thaw\n')) },
    {
      half: '0197fd6d810a98862bf9af95a196acdedb6f239a37d6147fee701f43da9d0feb',
      text: 'f86de9fa7f45cf3fa7afd1680047e09e9514d24584aa4a8e017e9cda128b57d3',
    },
    `zstd ${process.versions['zstd']} of Node ${process.version}`,
  );
});

test('decompress() says what is wrong with a form whose header is wrong', () => {
  const plaintext = sample(65_536);
  const frame = zstdCompressSync(plaintext);
  assert.ok(typeof decompress(forged(65_536, frame), 65_536) !== 'string');
  const tailed = forged(65_536, frame);
  tailed[tailed.byteLength - 1] = 1;
  const cases: readonly [Buffer, RegExp][] = [
    [Buffer.alloc(0), /no header/],
    [Buffer.alloc(7), /no header/],
    [Buffer.alloc(16_384), /holds 0 bytes/],
    [forged(0, frame), /holds 0 bytes/],
    [forged(65_535, frame), /whole blocks/],
    [forged(65_536 + 4096, frame), /at most 65536/],
    [forged(2 ** 32 - 4096, frame), /at most 65536/],
    [forged(61_440, frame), /does not unpack to 61440/],
    [forged(65_536, frame, 2 ** 32 - 1), /cut short/],
    [forged(65_536, frame, frame.byteLength - 1), /not followed by zeros/],
    [forged(65_536, frame.subarray(0, -1)), /does not unpack/],
    [forged(65_536, new Uint8Array()), /does not unpack/],
    [forged(65_536, Buffer.concat([frame, frame])), /does not unpack/],
    [forged(65_536, Buffer.concat([frame, Buffer.alloc(1)])), /does not unpack/],
    [forged(65_536, zstdCompressSync(plaintext.subarray(0, 61_440))), /holds 61440 bytes/],
    [tailed, /not followed by zeros/],
    [Buffer.concat([forged(65_536, frame), Buffer.alloc(16_384)]), /not followed by zeros/],
  ];
  for (const [form, words] of cases) {
    const complaint = decompress(form, 65_536);
    assert.ok(typeof complaint === 'string', String(words));
    assert.match(complaint, words);
  }
});

test('decompress() takes no memory for a frame that unpacks to far more than it may', () => {
  const zeros = Buffer.alloc(2 ** 28);
  const bomb = zstdCompressSync(zeros, { params: { [constants.ZSTD_c_windowLog]: 16 } });
  const before = process.resourceUsage().maxRSS;
  assert.match(String(decompress(forged(65_536, bomb), 65_536)), /does not unpack to 65536/);
  assert.ok(process.resourceUsage().maxRSS - before < 16 * 1024, 'KiB more');
});

test('decompress() takes no frame that asks for a window longer than what is in it', () => {
  // A frame without content size, whose window is 2^27 bytes, of one block without bytes.
  const greedy = Buffer.from('28b52ffd0088010000', 'hex');
  assert.match(String(decompress(forged(65_536, greedy), 65_536)), /too much memory/);
});

test('decompress() of any bytes gives whole blocks within bounds or a complaint, never more', () => {
  const valid = formOf(sample(65_536));
  const frame = zstdCompressSync(sample(65_536));
  const edits = fc.array(fc.tuple(fc.nat(2 ** 16), fc.nat(255)), { minLength: 1, maxLength: 8 });
  const edited = (of: Buffer, within: number): fc.Arbitrary<Buffer> =>
    edits.map((changes) => {
      const bytes = Buffer.from(of);
      for (const [at, value] of changes) bytes[at % within] = value;
      return bytes;
    });
  const forms = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    edited(valid, valid.byteLength),
    edited(valid, 24), // our header and that of the frame
    edited(frame, frame.byteLength).map((bytes) => forged(65_536, bytes)),
    fc
      .uint8Array({ maxLength: 200 })
      .map((bytes) => forged(65_536, Buffer.concat([frame.subarray(0, 4), bytes]))),
  );
  fc.assert(
    fc.property(forms, fc.integer({ min: 1, max: 20 }), (form, blocksMax) => {
      const opened = decompress(form, blocksMax * 4096);
      if (typeof opened === 'string') return;
      assert.ok(opened.byteLength > 0 && opened.byteLength <= blocksMax * 4096);
      assert.equal(opened.byteLength % 4096, 0);
    }),
    { numRuns: 2000 },
  );
});

test('docs/formats/chunk.md has the rows of compressed_header', async () => {
  const path = join(import.meta.dirname, '../../docs/formats/chunk.md');
  const document = await readFile(path, 'utf8');
  const rows = [...document.matchAll(/^\| (0x[0-9a-f]+) \| (\w+) \| `(\w+)` \|/gm)].map(
    ([, offset, type, field]) => [Number(offset), type, field],
  );
  assert.deepEqual(rows, [...compressedHeaderRecord.rows]);
});
