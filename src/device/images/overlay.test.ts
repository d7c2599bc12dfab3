import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import fc from 'fast-check';

import { Overlay, newOverlayKey, overlayBlockSizeBytes } from './overlay.ts';

const diskSizeBytes = 12 * overlayBlockSizeBytes;

async function readAll(
  overlay: Overlay,
  base: Uint8Array,
  range: { offset: number; size: number },
) {
  const parts: Uint8Array[] = [];
  for (const run of overlay.runs(range)) {
    const bytes = run.isWritten
      ? await overlay.read(run)
      : base.subarray(run.offset, run.offset + run.size);
    assert.equal(bytes.byteLength, run.size);
    parts.push(bytes);
  }
  return Buffer.concat(parts);
}

test('an overlay over a disk reads as the disk with the writes applied, also when opened again', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'thaw-overlay-'));
  const writes = fc.array(
    fc.tuple(fc.nat(diskSizeBytes - 1), fc.integer({ min: 1, max: 9000 }), fc.nat(255)),
    { maxLength: 6 },
  );
  let runs = 0;
  try {
    await fc.assert(
      fc.asyncProperty(writes, fc.nat(diskSizeBytes - 1), async (program, readOffset) => {
        const base = Buffer.alloc(diskSizeBytes, 'the disk as it was published; ');
        const model = Buffer.from(base);
        const path = join(dir, `overlay-${(runs += 1)}`);
        const key = newOverlayKey();
        let overlay = await Overlay.open(path, key, diskSizeBytes);
        for (const [offset, wanted, value] of program) {
          const bytes = Buffer.alloc(Math.min(wanted, diskSizeBytes - offset), value);
          const current = overlay;
          await overlay.write(offset, bytes, async (range) => readAll(current, base, range));
          bytes.copy(model, offset);
          if (value % 2 === 0) {
            await overlay.close();
            overlay = await Overlay.open(path, key, diskSizeBytes);
          }
        }
        const range = { offset: readOffset, size: diskSizeBytes - readOffset };
        const got = await readAll(overlay, base, range);
        assert.equal(got.compare(model.subarray(readOffset)), 0);
        await overlay.remove();
        await assert.rejects(readFile(path), { code: 'ENOENT' });
      }),
      { numRuns: 50 },
    );
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});

test('an overlay keeps ciphertext only, different for equal blocks', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'thaw-overlay-'));
  try {
    const path = join(dir, 'overlay');
    const overlay = await Overlay.open(path, newOverlayKey(), diskSizeBytes);
    const plain = Buffer.alloc(2 * overlayBlockSizeBytes, 'secret');
    await overlay.write(0, plain, async () => assert.fail('whole blocks were written'));
    await overlay.sync();
    const kept = await readFile(path);
    assert.ok(!kept.includes('secret'));
    const blocks = [0, 1].map((index) =>
      kept.toString('hex', index * overlayBlockSizeBytes, (index + 1) * overlayBlockSizeBytes),
    );
    assert.notEqual(blocks[0], blocks[1]);
    await overlay.close();
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
