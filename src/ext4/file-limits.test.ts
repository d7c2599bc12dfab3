/** Files at the limits of ext4: past every boundary of size, over the ends of groups, and of as many pieces as a tree takes. */

import assert from 'node:assert/strict';
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { needsPrograms } from '../../test/support/programs.ts';
import { byteString, present, RandomAccessFile, runCommand, viewOf } from '../base/index.ts';
import type { ContentReader } from './disk-plan.ts';
import type { Extent } from './extent-tree.ts';
import { blocksPerGroup, slotBlock } from './geometry.ts';
import { openFilesystem, planDisk } from './index.ts';
import { debugfs, parseExtents } from './testing/debugfs.ts';
import { testImage, type EntryInWords } from './testing/images.ts';
import {
  expectKernelFinds,
  expectReaderFindsInFile,
  fsck,
  needsRoot,
  withDisk,
  withMount,
} from './testing/oracles.ts';

const blockBytes = 4096;
const gibibyte = 2 ** 30;
const fileBytesMax = (2 ** 32 - 1) * blockBytes;

async function readerExtents(diskPath: string, path: string): Promise<readonly Extent[]> {
  await using disk = await RandomAccessFile.open(diskPath);
  const reader = await openFilesystem(disk);
  return await reader.extents(present(await reader.lookup(byteString(path)), path));
}

/** What the kernel answers to FIEMAP. */
async function kernelExtents(file: string): Promise<Extent[]> {
  const { stdout } = await runCommand('filefrag', ['-v', '-b4096', file]);
  const extents: Extent[] = [];
  for (const [, logical, physical, count] of stdout.matchAll(
    /^ *\d+: *(\d+)\.\. *\d+: *(\d+)\.\. *\d+: *(\d+):/gm,
  )) {
    extents.push({
      logicalBlock: Number(logical),
      physicalBlock: Number(physical),
      blockCount: Number(count),
    });
  }
  return extents;
}

test(
  'files around 2 GiB, past 4 GiB and as long as ext4 can count hold their data where it was',
  { skip: needsRoot },
  async () => {
    const around = [2 * gibibyte, 4 * gibibyte].flatMap((boundary) =>
      [-1, 0, 1, 5000].map((more) => boundary + more),
    );
    const files = [...around, 1024 * gibibyte, fileBytesMax].map((data, seed): EntryInWords => {
      const middle = Math.floor(data / 2);
      return {
        path: `${data}`,
        data,
        seed,
        parts: [
          [0, 1],
          [middle, 5000],
          [data - 1, 1],
        ],
      };
    });
    const wholeHoles = [4 * gibibyte + 1, fileBytesMax].map((data): EntryInWords => {
      return { path: `hole-${data}`, data, parts: [] };
    });
    const image = await testImage([[...files, ...wholeHoles]]);
    await withDisk(image, async (disk) => {
      await fsck(disk.path);
      await withMount(disk, (mountPoint) => expectKernelFinds(mountPoint, image));
      await expectReaderFindsInFile(disk.path, image);
    });
  },
);

test('a file may be as long as ext4 can count, and no longer', async () => {
  const planOf = async (data: number) =>
    planDisk((await testImage([[{ path: 'long', data, parts: [[data - 1, 1]] }]])).tree);
  assert.equal((await planOf(fileBytesMax)).contentBytes, fileBytesMax);
  await assert.rejects(planOf(fileBytesMax + 1), { code: 'ERR_EXT4_LIMIT', message: /"long"/ });
});

test(
  'data goes on behind the front of the next group, also where holes are as long as groups',
  { skip: needsRoot },
  async () => {
    const groupBytes = blocksPerGroup * blockBytes;
    const holed: EntryInWords = {
      path: 'holed',
      data: 6 * groupBytes + 10,
      parts: [1, 2, 3, 4, 5, 6].map((group) => [group * groupBytes - 4097, 4107] as const),
    };
    const image = await testImage([[{ path: 'huge', data: 300 * 2 ** 20 }, holed]]);
    await withDisk(image, async (disk) => {
      await fsck(disk.path);
      const extents = await readerExtents(disk.path, 'huge');
      const crossings = extents.slice(1).map(({ physicalBlock }, index) => {
        const { physicalBlock: before, blockCount } = present(extents[index], 'the extent before');
        return [(before + blockCount) % blocksPerGroup, physicalBlock % blocksPerGroup];
      });
      assert.ok(crossings.length >= 2);
      for (const crossing of crossings) assert.deepEqual(crossing, [0, slotBlock(0)]);
      await withMount(disk, async (mountPoint) => {
        await expectKernelFinds(mountPoint, image);
        assert.deepEqual(await kernelExtents(join(mountPoint, 'huge')), extents);
      });
      await expectReaderFindsInFile(disk.path, image);
    });
  },
);

/** A block in so many begins with its number; all others are zeros, so that a disk of them is hardly written at all. */
const markedEvery = 997;
const markedZeros: ContentReader = {
  read: async (_layer, tarOffset, target) => {
    target.fill(0);
    const block = (tarOffset % 2 ** 40) / blockBytes;
    for (let at = 0; at < target.byteLength; at += blockBytes) {
      const number = block + at / blockBytes;
      if (number % markedEvery === 0) viewOf(target).writeUInt32LE(number + 1, at);
    }
  },
};

/** Of the extents of a file in every second block: how deep their tree is. Four extents fit into the inode, 340 into a block. */
const depths = [
  { extentCount: 4, depth: 0 },
  { extentCount: 5, depth: 1 },
  { extentCount: 4 * 340, depth: 1 },
  { extentCount: 4 * 340 + 1, depth: 2 },
  { extentCount: 4 * 340 * 340 + 1, depth: 3 },
] as const;

test(
  'extent trees are as deep as they must be, up to three levels, and lead the kernel to every block',
  { skip: needsRoot || needsPrograms('filefrag') },
  async () => {
    const files = depths.map(({ extentCount }, seed): EntryInWords => {
      const parts = Array.from(
        { length: extentCount },
        (_, index) => [index * 8192, 4096] as const,
      );
      return { path: `${extentCount}`, data: extentCount * 8192, seed, parts };
    });
    const { tree } = await testImage([files]);
    await withDisk({ tree, content: markedZeros }, async (disk) => {
      await fsck(disk.path);
      const printed = debugfs(
        disk.path,
        depths.map(({ extentCount }) => `dump_extents -n /${extentCount}`),
      ).map(parseExtents);
      assert.deepEqual(
        printed.map(({ depth }) => depth),
        depths.map(({ depth }) => depth),
      );
      await withMount(disk, async (mountPoint) => {
        for (const { extentCount } of depths) {
          const extents = await readerExtents(disk.path, `${extentCount}`);
          assert.equal(extents.length, extentCount);
          assert.ok(extents.every(({ logicalBlock }, index) => logicalBlock === index * 2));
          const file = join(mountPoint, `${extentCount}`);
          expectSameExtents(await kernelExtents(file), extents);
          expectMarks(file, extentCount * 2);
        }
      });
    });
  },
);

/** Half a million of them take `deepEqual` seconds. */
function expectSameExtents(found: readonly Extent[], expected: readonly Extent[]): void {
  assert.equal(found.length, expected.length);
  for (const [index, { logicalBlock, physicalBlock, blockCount }] of expected.entries()) {
    const is = found[index];
    const isSame =
      is?.logicalBlock === logicalBlock &&
      is.physicalBlock === physicalBlock &&
      is.blockCount === blockCount;
    if (!isSame) assert.deepEqual(is, expected[index], `extent ${index}`);
  }
}

function expectMarks(file: string, blockCount: number): void {
  const fd = openSync(file, 'r');
  try {
    const bytes = Buffer.alloc(2 * blockBytes);
    for (let block = 0; block < blockCount; block += 2 * markedEvery) {
      readSync(fd, bytes, 0, bytes.byteLength, block * blockBytes);
      const expected = Buffer.alloc(bytes.byteLength);
      expected.writeUInt32LE(block + 1);
      assert.ok(bytes.equals(expected), `block ${block} of "${file}"`);
    }
  } finally {
    closeSync(fd);
  }
}
