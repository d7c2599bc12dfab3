import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import fc from 'fast-check';

import { RandomAccessFile, ThawError, byteString, type RandomAccess } from '../base/index.ts';
import { openFilesystem, planDisk } from './index.ts';
import { testImage, type EntryInWords } from './testing/images.ts';
import { needsRoot, planAsDisk, withMount } from './testing/oracles.ts';

test(
  'the reader finds what the kernel wrote into a filesystem that mke2fs made',
  {
    skip: needsRoot,
  },
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'thaw-ext4-'));
    try {
      const path = join(directory, 'disk.img');
      const options = ['-q', '-t', 'ext4', '-O', '^has_journal,64bit,metadata_csum', path, '64M'];
      execFileSync('mke2fs', options);
      await withMount(
        { path, directory },
        async (mountPoint) => {
          mkdirSync(join(mountPoint, 'many'));
          for (let index = 0; index < 3000; index += 1) {
            writeFileSync(join(mountPoint, 'many', `nämé-${index}`), `${index}`);
          }
        },
        'rw,loop',
      );
      await using disk = await RandomAccessFile.open(path);
      const reader = await openFilesystem(disk);
      const many = await reader.lookup(byteString('many'));
      assert.ok(many !== undefined);
      assert.equal((await reader.entries(many)).length, 3000);
      for (let index = 0; index < 3000; index += 1) {
        const file = await reader.lookup(byteString(`many/nämé-${index}`));
        assert.equal(file?.sizeBytes, `${index}`.length);
      }
    } finally {
      await rm(directory, { recursive: true });
    }
  },
);

test('bytes that are no ext4 filesystem are refused with a code', async () => {
  const zeros = (sizeBytes: number): RandomAccess => {
    return { sizeBytes, read: async (_offset, target) => void target.fill(0) };
  };
  await assert.rejects(openFilesystem(zeros(0)), { code: 'ERR_EXT4_CORRUPT' });
  await assert.rejects(openFilesystem(zeros(1 << 20)), { code: 'ERR_EXT4_CORRUPT' });
});

const small: readonly EntryInWords[] = [
  ...Array.from({ length: 40 }, (_, index) => ({ path: `many/${'n'.repeat(200)}${index}` })),
  { path: 'a/b/c', data: 5000, xattrs: { 'user.a': 'b', 'user.long': 'x'.repeat(300) } },
  { path: 'link', type: 'symlink', target: 'x'.repeat(100) },
  {
    path: 'holes',
    data: 800_000,
    parts: [0, 1, 2, 3, 4, 5].map((n) => [n * 100_000, 10] as const),
  },
];

/** Reads everything there is to read, in every way. */
async function readAll(disk: RandomAccess): Promise<void> {
  const reader = await openFilesystem(disk);
  const target = new Uint8Array(65_536);
  for await (const { path, inode } of reader.walk()) {
    await reader.xattrs(inode);
    await reader.lookup(path);
    if (inode.type === 'symlink') await reader.readLink(inode);
    if (inode.type === 'file') await reader.read(inode, 0, target);
  }
}

/** Reads all of the disk that holds anything into memory: its blocks by number. */
async function blocksOf(disk: RandomAccess, numbers: readonly number[]) {
  const blocks = new Map<number, Buffer>();
  for (const number of numbers) {
    const block = Buffer.alloc(4096);
    await disk.read(number * 4096, block);
    blocks.set(number, block);
  }
  return blocks;
}

function diskOf(sizeBytes: number, blocks: ReadonlyMap<number, Buffer>): RandomAccess {
  return {
    sizeBytes,
    read: async (offset, target) => {
      assert.ok(offset >= 0 && offset + target.byteLength <= sizeBytes, 'reads stay on the disk');
      for (let at = 0; at < target.byteLength;) {
        const number = Math.floor((offset + at) / 4096);
        const from = (offset + at) % 4096;
        const length = Math.min(4096 - from, target.byteLength - at);
        const block = blocks.get(number);
        if (block === undefined) target.fill(0, at, at + length);
        else target.set(block.subarray(from, from + length), at);
        at += length;
      }
    },
  };
}

test('damaged bytes anywhere give answers or coded errors, and an end', async () => {
  const image = await testImage([small]);
  const plan = planDisk(image.tree);
  const blocks = await blocksOf(planAsDisk(plan, image.content), plan.chunkIndexes(4096));
  const numbers = [...blocks.keys()].filter((number) => !isBitmapOrFarDescriptor(number));
  await readAll(diskOf(plan.diskSizeBytes, blocks));
  const interesting = fc.oneof(
    fc.integer({ min: 0, max: 255 }),
    fc.constantFrom(0, 1, 0x7f, 0x80, 0xff),
  );
  const damage = fc.record({
    block: fc.constantFrom(...numbers),
    // Structures stand at the front of blocks; superblock and inodes all over them.
    offset: fc.oneof(fc.integer({ min: 0, max: 64 }), fc.integer({ min: 0, max: 4095 })),
    bytes: fc.array(interesting, { minLength: 1, maxLength: 8 }),
  });
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 4 }), async (damages) => {
      const damaged = new Map(blocks);
      for (const { block, offset, bytes } of damages) {
        const copy = Buffer.from(damaged.get(block) ?? Buffer.alloc(4096));
        copy.set(bytes.slice(0, 4096 - offset), offset);
        damaged.set(block, copy);
      }
      try {
        await readAll(diskOf(plan.diskSizeBytes, damaged));
      } catch (thrown) {
        refused += 1;
        if (!(thrown instanceof ThawError) || thrown.fault !== 'data') throw thrown;
      }
    }),
    { numRuns: 200 },
  );
  assert.ok(refused > 20, `only ${refused} of 200 damaged disks were refused`);
});

/** The reader does not look at these, so damage there is no test. */
function isBitmapOrFarDescriptor(number: number): boolean {
  return number > 1 && number < 38;
}
