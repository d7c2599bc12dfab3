/** Hashed directories where they are hardest, each name looked up by the kernel's own walk down the hash tree. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { byteString, runCommand } from '../base/index.ts';
import { planDirectory } from './directory.ts';
import { directoryHashSeed } from './geometry.ts';
import { halfMd4 } from './half-md4.ts';
import { collidingHash, collidingNames } from './testing/colliding-names.ts';
import { testImage, type EntryInWords } from './testing/images.ts';
import {
  expectKernelFinds,
  expectReaderFindsInFile,
  fsck,
  needsRoot,
  withDisk,
  withMount,
} from './testing/oracles.ts';

const ofHash = (name: string): number => halfMd4(byteString(name), directoryHashSeed);

/** As the tools print a leaf that goes on with the hash of the one before. */
const continuation = new RegExp(`Hash 0x${(collidingHash + 1).toString(16)} \\(\\*\\*\\)`, 'g');

function entriesIn(directory: string, names: readonly string[]): EntryInWords[] {
  return names.map((name, index) => ({ path: `${directory}/${name}`, mode: index % 512 }));
}

async function hashTreeOf(diskPath: string, directory: string): Promise<string> {
  return (await runCommand('debugfs', ['-R', `htree_dump ${directory}`, diskPath])).stdout;
}

test(
  'names of one hash are found in each of the blocks that they fill, alone and among others',
  { skip: needsRoot },
  async () => {
    for (const name of collidingNames) assert.equal(ofHash(name), collidingHash);
    const others = Array.from({ length: 500 }, (_, index) => `${'n'.repeat(index % 200)}${index}`);
    const image = await testImage([
      [
        ...entriesIn('alone', collidingNames),
        ...entriesIn('among', [...others, ...collidingNames]),
        ...entriesIn('two-leaves', [...others, ...collidingNames.slice(0, 16)]),
      ],
    ]);
    await withDisk(image, async (disk) => {
      await fsck(disk.path);
      assert.equal((await hashTreeOf(disk.path, '/alone')).match(continuation)?.length, 3);
      await withMount(disk, (mountPoint) => expectKernelFinds(mountPoint, image));
      await expectReaderFindsInFile(disk.path, image);
    });
  },
);

/** Names before the colliding ones so many that the first of these begin the last leaf of an inner node. */
function namesThatFillANode(): string[] {
  const before: string[] = [];
  for (let index = 0; before.length < 8000; index += 1) {
    const name = `${'n'.repeat(200)}${index}`;
    if (ofHash(name) < collidingHash) before.push(name);
  }
  const leavesBefore = (count: number): number =>
    planDirectory(
      [...before.slice(0, count), ...collidingNames].map(byteString),
      'd',
    ).hashTree?.leaves.findIndex(({ names }) => names.some((name) => name.startsWith('c'))) ?? 0;
  let low = 0;
  let high = before.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (leavesBefore(middle) < 510) low = middle + 1;
    else high = middle;
  }
  assert.equal(leavesBefore(low), 510);
  return before.slice(0, low);
}

test(
  'names of one hash that go on in the next inner node of the tree are found there',
  { skip: needsRoot },
  async () => {
    const image = await testImage([entriesIn('d', [...namesThatFillANode(), ...collidingNames])]);
    await withDisk(image, async (disk) => {
      await fsck(disk.path);
      const dump = await hashTreeOf(disk.path, '/d');
      assert.match(dump, /Indirect levels: 1/);
      // The root says of its second node what that says of its first leaf.
      assert.equal(dump.match(/^Entry #1: Hash 0x80000013 \(\*\*\), block 2$/m)?.length, 1);
      await withMount(disk, (mountPoint) => expectKernelFinds(mountPoint, image));
      await expectReaderFindsInFile(disk.path, image);
    });
  },
);
