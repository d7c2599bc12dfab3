/**
 * Directories at the limits of ext4: of very many entries, of more subdirectories than a link count holds, and of names as long
 * as they may be in any encoding. `npm run bench -- scale` does more of them than a test suite has time for.
 */

import assert from 'node:assert/strict';
import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import {
  byteString,
  byteStringFromBytes,
  present,
  RandomAccessFile,
  runCommand,
  type ByteString,
} from '../base/index.ts';
import { checkDisk, openFilesystem } from './index.ts';
import { testImage, type EntryInWords } from './testing/images.ts';
import {
  expectKernelFinds,
  expectReaderFindsInFile,
  fsck,
  needsRoot,
  withDisk,
  withMount,
} from './testing/oracles.ts';

/** More than a call takes arguments, which has gone wrong; hard links, because files of their own take their time. */
const crowdCount = 130_000;
const crowdFiles = Array.from({ length: 3 }, (_, index) => ({ path: `file-${index}`, data: 'x' }));

test(
  'a directory of 130,000 entries has a hash tree of two levels, in which every name is found',
  { skip: needsRoot },
  async () => {
    const names = Array.from({ length: crowdCount }, (_, index) => `a-name-of-a-link-${index}`);
    const links = names.map((name, index): EntryInWords => {
      return { path: `d/${name}`, type: 'hardlink', target: `file-${index % crowdFiles.length}` };
    });
    await withDisk(await testImage([[...crowdFiles, ...links]]), async (disk) => {
      await fsck(disk.path);
      const { stdout } = await runCommand('debugfs', ['-R', 'htree_dump /d', disk.path]);
      assert.match(stdout, /Indirect levels: 1/);
      await using file = await RandomAccessFile.open(disk.path);
      assert.deepEqual(await checkDisk(file), { fileCount: 2 + crowdFiles.length, problems: [] });
      const reader = await openFilesystem(file);
      const found = await reader.entries(present(await reader.lookup(byteString('d')), 'd'));
      const expected = names.toSorted();
      assert.ok(found.every(({ name }, index) => name === expected[index]));
      assert.equal(found.length, crowdCount);
      for (const { name, inode } of found.filter((_, index) => index % 97 === 0)) {
        assert.equal((await reader.lookup(byteString(`d/${name}`)))?.number, inode, name);
      }
      assert.equal(await reader.lookup(byteString(`d/a-name-of-a-link-${crowdCount}`)), undefined);
      await withMount(disk, async (mountPoint) => {
        const directory = join(mountPoint, 'd');
        assert.equal(readdirSync(directory).length, crowdCount);
        for (const { name, inode } of found) {
          assert.equal(lstatSync(join(directory, name)).ino, inode, name);
        }
      });
    });
  },
);

/** Directories with so many others in them that their links are as many as ext4 counts, and one more. */
const linkCounts = [
  { subdirectories: 64_998, links: 65_000 },
  { subdirectories: 64_999, links: 1 },
] as const;

test(
  'a directory counts up to 65,000 links, and more as 1, which e2fsck and the kernel understand',
  { skip: needsRoot },
  async () => {
    for (const { subdirectories, links } of linkCounts) {
      const entries = Array.from({ length: subdirectories }, (_, index): EntryInWords => {
        return { path: `d/${index}`, type: 'directory' };
      });
      await withDisk(await testImage([entries]), async (disk) => {
        await fsck(disk.path);
        await withMount(disk, async (mountPoint) => {
          assert.equal(lstatSync(join(mountPoint, 'd')).nlink, links);
          assert.equal(readdirSync(join(mountPoint, 'd')).length, subdirectories);
          const last = join(mountPoint, 'd', `${subdirectories - 1}`);
          assert.equal(lstatSync(last).nlink, 2);
        });
        await using file = await RandomAccessFile.open(disk.path);
        const reader = await openFilesystem(file);
        assert.equal((await reader.lookup(byteString('d')))?.linkCount, links);
      });
    }
  },
);

const nameBytes = 255;

/** As many of these bytes, over and over, as a name holds. */
function nameOf(bytes: readonly number[]): ByteString {
  const name = Buffer.alloc(nameBytes);
  for (let at = 0; at < nameBytes; at += 1) name[at] = bytes[at % bytes.length] ?? 0;
  return byteStringFromBytes(name);
}

const everyByte = Array.from({ length: 256 }, (_, byte) => byte).filter(
  (byte) => byte !== 0 && byte !== 0x2f,
);

/** What the same disk is called in many tongues, and what no tongue is. */
const names: Readonly<Record<string, ByteString>> = {
  'ASCII, control characters included': nameOf(everyByte.filter((byte) => byte < 0x80)),
  'every byte that a name may hold': nameOf(everyByte),
  'ISO 8859-1': nameOf(everyByte.filter((byte) => byte >= 0xa0)),
  'UTF-8 of two bytes': nameOf([...Buffer.from('é')]),
  'UTF-8 of three bytes': nameOf([...Buffer.from('名')]),
  'UTF-8 of four bytes': nameOf([...Buffer.from('🧊')]),
  'UTF-8, decomposed': nameOf([...Buffer.from('e\u0301')]),
  'UTF-8, written right to left': nameOf([...Buffer.from('שלום')]),
  'UTF-8 of surrogates, which is none': nameOf([0xed, 0xa0, 0x80]),
  'UTF-8 of an overlong slash, which is none': nameOf([0xc0, 0xaf]),
  'Shift JIS with backslashes in it': nameOf([0x83, 0x5c, 0x95, 0x5c]),
  'GB 18030': nameOf([0x81, 0x30, 0x89, 0x39]),
  'EUC-KR': nameOf([0xb0, 0xa1]),
  'KOI8-R': nameOf([0xeb, 0xcf, 0xc9]),
  EBCDIC: nameOf([0xc1, 0x89, 0x40]),
  'UTF-16 without zeros': nameOf([0x11, 0x54]),
  'bytes of 255': nameOf([0xff]),
  dots: nameOf([0x2e]),
  'spaces and line feeds': nameOf([0x20, 0x0a]),
};

test(
  'names of 255 bytes in any encoding are kept as they are, in a list, in a hash tree and as targets',
  { skip: needsRoot },
  async () => {
    const entries = Object.values(names).flatMap((name, index): EntryInWords[] => [
      { path: name, data: `${index}` },
      { path: `tree/${name}` as ByteString, data: `${index} in a hash tree` },
      { path: `${name.slice(1)}d/${name}/${name}` as ByteString, data: `${index}, deep` },
      { path: `links/${name}` as ByteString, type: 'symlink', target: name },
      { path: `hard/${name}` as ByteString, type: 'hardlink', target: name },
    ]);
    const image = await testImage([entries]);
    await withDisk(image, async (disk) => {
      await fsck(disk.path);
      await withMount(disk, (mountPoint) => expectKernelFinds(mountPoint, image));
      await expectReaderFindsInFile(disk.path, image);
    });
  },
);
