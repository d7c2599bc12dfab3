import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import fc from 'fast-check';

import { diskChunkKey, diskChunkPath } from './disk-chunk-name.ts';
import {
  decodeDiskHistory,
  diskHistoryHeader,
  diskHistoryPage,
  encodeDiskHistory,
} from './disk-history.ts';

const root = join(import.meta.dirname, '../../..');
const savedAt = { nowMs: Date.UTC(2026, 10, 23), monotonicMs: 5_000_000 };

function keyOf(byte: number, blockCount: number): string {
  const ciphertextDigest = Buffer.alloc(32, byte);
  return diskChunkKey({ rootId: 'r', ciphertextDigest, storedLengthBytes: blockCount * 4096 });
}

/** The pages of docs/formats/disk-cache.md. */
const pages = [
  { key: keyOf(0xab, 128), hist1Ms: 4_990_000, hist2Ms: 4_000_000, lastMs: 4_999_900 },
  { key: keyOf(0xcd, 1), hist1Ms: 4_000_000, hist2Ms: -Infinity, lastMs: 4_000_000 },
];

async function encoded(of = pages): Promise<Buffer> {
  return Buffer.concat(await encodeDiskHistory(of, savedAt));
}

test('decoding gives what was encoded, later by the time between, however many pages there are', async () => {
  for (const count of [0, 1, 2047, 2048, 2049, 5000]) {
    const many = Array.from({ length: count }, (_, index) => ({
      key: keyOf(index % 256, 1 + index),
      hist1Ms: 100 * index,
      hist2Ms: index % 3 === 0 ? -Infinity : 50 * index - ((50 * index) % 100),
      lastMs: 200 * index,
    }));
    const later = { nowMs: savedAt.nowMs + 60_000, monotonicMs: 7_000 };
    const batches = await decodeDiskHistory(await encoded(many), later);
    const shiftMs = later.monotonicMs - 60_000 - savedAt.monotonicMs;
    assert.deepEqual(
      [...(batches ?? [])].flat(),
      many.map((page) => ({
        key: page.key,
        hist1Ms: page.hist1Ms + shiftMs,
        hist2Ms: page.hist2Ms + shiftMs,
        lastMs: page.lastMs + shiftMs,
      })),
    );
  }
});

test('a history that was changed or cut anywhere is none', async () => {
  const whole = await encoded();
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.nat(whole.byteLength * 8 - 1).map((bit) => {
          const flipped = Buffer.from(whole);
          flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
          return flipped;
        }),
        fc.nat(whole.byteLength - 1).map((length) => whole.subarray(0, length)),
        fc.uint8Array({ minLength: 1 }).map((more) => Buffer.concat([whole, more])),
      ),
      async (damaged) => assert.equal(await decodeDiskHistory(damaged, savedAt), undefined),
    ),
  );
});

test('a clock that was set back makes no page younger than it was', async () => {
  const earlier = { nowMs: savedAt.nowMs - 3_600_000, monotonicMs: savedAt.monotonicMs };
  const batches = await decodeDiskHistory(await encoded(), earlier);
  assert.deepEqual([...(batches ?? [])].flat(), pages);
});

test('version 1 stays byte for byte what test/golden/disk-history-v1.hex holds', async () => {
  const golden = await readFile(join(root, 'test/golden/disk-history-v1.hex'), 'latin1');
  assert.equal((await encoded()).toString('hex'), golden.replaceAll('\n', ''));
});

test("docs/formats/disk-cache.md has the rows of both records, and the name of a chunk's file", async () => {
  const document = await readFile(join(root, 'docs/formats/disk-cache.md'), 'utf8');
  for (const record of [diskHistoryHeader, diskHistoryPage]) {
    const [, section = ''] = document.split(`\`${record.name}\`, ${record.sizeBytes} bytes`);
    const [table = ''] = section.split(/\n\n(?=[^|])/).filter((part) => part.includes('| 0x'));
    const rows = [...table.matchAll(/^\| (0x[0-9a-f]+) \| (\w+) \| `(\w+)` \|/gm)];
    assert.deepEqual(
      rows.map(([, offset, type, field]) => [Number(offset), type, field]),
      [...record.rows],
    );
  }
  assert.ok(document.includes(`\`chunks/${diskChunkPath(keyOf(0xab, 128))}\``));
});
