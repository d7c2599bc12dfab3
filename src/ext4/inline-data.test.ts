/** Data in inodes, at the lengths at which it changes where it lies. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { byteString } from '../base/index.ts';
import { openFilesystem, planDisk } from './index.ts';
import { testImage, type EntryInWords } from './testing/images.ts';
import {
  expectKernelFinds,
  expectReaderFinds,
  expectReaderFindsInFile,
  fsck,
  needsJudges,
  needsRoot,
  planAsDisk,
  withDisk,
  withMount,
} from './testing/oracles.ts';

const lengths = [1, 59, 60, 61, 124, 127, 128, 129, 4095, 4096];
const files = lengths.flatMap((length): EntryInWords[] => [
  { path: `files/${length}`, data: length },
  { path: `linked/${length}`, type: 'hardlink', target: `files/${length}` },
  {
    path: `with-xattr/${length}`,
    data: length,
    xattrs: { 'user.a': 'b', 'user.c': 'd'.repeat(80) },
  },
  { path: `links/${length}`, type: 'symlink', target: 't'.repeat(Math.min(length, 4095)) },
  { path: `holes/${length}`, data: length, parts: [[length - 1, 1]] },
]);
/** Names of so many bytes, three of each: entries that fill the two parts of an inode exactly, by a byte less and more. */
const directories = Array.from({ length: 60 }, (_, index): EntryInWords[] =>
  ['a', 'b', 'c', 'd', 'e'].slice(0, 1 + (index % 5)).map((name) => {
    return { path: `names/${index}/${name.repeat(1 + index)}`, data: index };
  }),
).flat();
const kinds: readonly EntryInWords[] = [
  { path: 'empty', type: 'directory' },
  { path: 'kinds/directory', type: 'directory' },
  { path: 'kinds/fifo', type: 'fifo' },
  { path: 'kinds/link', type: 'symlink', target: 'fifo' },
  { path: 'acl', type: 'directory', xattrs: { 'user.a': 'b' } },
  { path: 'acl/file', data: 1, seed: 0 },
];
const below: readonly EntryInWords[] = [
  { path: 'files/60', data: 'replaced above' },
  { path: 'names/0/lost', data: 'x' },
  { path: 'kinds/lost', data: 'x' },
];
const above: readonly EntryInWords[] = [
  { path: 'names/0/.wh.lost' },
  { path: 'kinds/.wh.lost' },
  { path: 'names/1/added-by-a-layer-above', data: 'y' },
];

const layers = [below, [...files, ...directories, ...kinds], above];

test('small data lies in inodes and is read there', async () => {
  const image = await testImage(layers);
  await expectReaderFinds(planAsDisk(planDisk(image.tree), image.content), image);
  const disk = await openFilesystem(planAsDisk(planDisk(image.tree), image.content));
  const where = async (path: string): Promise<number> => {
    const inode = await disk.lookup(byteString(path));
    assert.ok(inode, path);
    return (await disk.extents(inode)).length;
  };
  for (const length of lengths) {
    const expected = length > 128 ? 1 : 0;
    assert.equal(await where(`files/${length}`), expected);
    assert.equal(await where(`with-xattr/${length}`), expected);
    if (length > 59) assert.equal(await where(`links/${length}`), expected);
  }
  assert.equal(await where('kinds'), 0);
  assert.equal(await where('files'), 1);
});

test(
  'the kernel reads small data where it lies, and e2fsck agrees',
  { skip: needsRoot || needsJudges },
  async () => {
    const image = await testImage(layers);
    await withDisk(image, async (disk) => {
      await fsck(disk.path);
      await expectReaderFindsInFile(disk.path, image);
      await withMount(disk, (mountPoint) => expectKernelFinds(mountPoint, image));
    });
  },
);
