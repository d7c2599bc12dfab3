import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { open } from 'node:fs/promises';
import { test } from 'node:test';

import fc from 'fast-check';

import { RandomAccessFile, type RandomAccess } from '../base/index.ts';
import { checkDisk } from './check-disk.ts';
import { planDisk } from './plan-disk.ts';
import { capability } from './testing/golden-corpus.ts';
import { testImage, type EntryInWords } from './testing/images.ts';
import { needsJudges, planAsDisk, withDisk } from './testing/oracles.ts';

const lower: readonly EntryInWords[] = [
  { path: 'etc/passwd', data: 'root', mode: 0o600 },
  { path: 'etc/small', data: 90 },
  { path: 'etc/gone', data: 9000 },
  { path: 'usr/bin/tool', data: 70_000, xattrs: { 'security.capability': capability } },
  { path: 'usr/bin/other', type: 'hardlink', target: 'usr/bin/tool' },
  { path: 'usr/big', data: 900_000, xattrs: { 'user.long': 'x'.repeat(1000) } },
  { path: 'dev/null', type: 'character-device', device: [1, 3] },
  { path: 'dev/far', type: 'block-device', device: [300, 70_000] },
  { path: 'pipe', type: 'fifo' },
  { path: 'long', type: 'symlink', target: 'x'.repeat(100) },
  { path: 'short', type: 'symlink', target: 'usr' },
  ...Array.from({ length: 200 }, (_, index) => ({
    path: `many/${'n'.repeat(80)}${index}`,
    data: 10,
  })),
  {
    path: 'holes',
    data: 4_000_000,
    parts: Array.from({ length: 400 }, (_, n) => [n * 10_000, 10] as const),
  },
];
const upper: readonly EntryInWords[] = [
  { path: 'etc/.wh.gone' },
  { path: 'etc/passwd', data: 'other' },
  { path: 'new/deep/er', type: 'directory' },
];

test('checkDisk() finds nothing wrong with what the writer writes', async () => {
  for (const layers of [[], [[]], [lower], [lower, upper]]) {
    const image = await testImage(layers);
    const plan = planDisk(image.tree);
    const { fileCount, problems } = await checkDisk(planAsDisk(plan, image.content));
    assert.deepEqual(problems, []);
    assert.equal(fileCount, plan.fileCount);
  }
});

/** The blocks that hold metadata, and a symlink's text. */
async function metadataBlocks(disk: RandomAccess): Promise<number[]> {
  const seen = new Set<number>();
  await checkDisk({
    sizeBytes: disk.sizeBytes,
    read: async (offset, target) => {
      await disk.read(offset, target);
      for (let at = 0; at < target.byteLength; at += 4096) {
        const block = target.subarray(at, at + 4096);
        if (block.some((byte) => byte !== 0)) seen.add(Math.floor((offset + at) / 4096));
      }
    },
  });
  return [...seen].sort((a, b) => a - b);
}

/** Whether e2fsck finds anything to correct. */
function e2fsckObjects(path: string): boolean {
  return spawnSync('e2fsck', ['-f', '-n', path]).status !== 0;
}

test('checkDisk() objects to all that e2fsck objects to', { skip: needsJudges }, async (t) => {
  await withDisk(await testImage([lower, upper]), async ({ path }) => {
    await using disk = await RandomAccessFile.open(path);
    await using file = await open(path, 'r+');
    const blocks = await metadataBlocks(disk);
    const change = fc.record({
      block: fc.constantFrom(...blocks),
      // Structures stand at the front of blocks; superblock and inodes all over them.
      offset: fc.oneof(fc.integer({ min: 0, max: 64 }), fc.integer({ min: 0, max: 4095 })),
      xor: fc.oneof(fc.integer({ min: 1, max: 255 }), fc.constantFrom(1, 0x80)),
    });
    const runs = 10;
    let [ours, theirs] = [0, 0];
    await fc.assert(
      fc.asyncProperty(change, async ({ block, offset, xor }) => {
        const at = block * 4096 + offset;
        const byte = Buffer.alloc(1);
        await file.read(byte, 0, 1, at);
        await file.write(Buffer.of((byte[0] ?? 0) ^ xor), 0, 1, at);
        const { problems } = await checkDisk(disk);
        const isSeenByThem = e2fsckObjects(path);
        await file.write(byte, 0, 1, at);
        if (isSeenByThem) theirs += 1;
        if (problems.length > 0) ours += 1;
        else assert.ok(!isSeenByThem, 'e2fsck objects');
      }),
      { numRuns: runs },
    );
    t.diagnostic(`of ${runs} changes checkDisk() saw ${ours}, e2fsck ${theirs}`);
    assert.ok(ours > runs / 2, `only ${ours} of ${runs} changes were seen`);
    assert.deepEqual((await checkDisk(disk)).problems, []);
  });
});

/** What debugfs does to a sound disk, and what is said of it. */
const damages: readonly (readonly [command: string, says: RegExp])[] = [
  ['set_inode_field <1> mode 1', /^Inode 1 is unused and not zero$/],
  ['set_inode_field /etc/passwd links_count 2', /^Inode \d+ lacks 1 of its names$/],
  [
    'set_inode_field /usr/bin/tool links_count 1',
    /"\/usr\/bin\/tool": it has more names than links/,
  ],
  ['set_inode_field /etc/passwd blocks 80', /"\/etc\/passwd": i_blocks_lo is 80, must be 0/],
  ['set_inode_field /usr/big size 5', /"\/usr\/big": i_block is wrong/],
  ['set_inode_field /etc/passwd file_acl 0x10', /"\/etc\/passwd": .*which cannot be|attributes/],
  ['set_inode_field /short size 5', /"\/short": Symlink \d+ has a text that ends before its size/],
  ['clri /etc/passwd', /"\/etc": Inode \d+ is referred to but not in use/],
  ['unlink /pipe', /^Inode \d+ is unused and not zero$/],
  ['freeb 1 1', /^The bitmap in block \d+ does not say what is in use$/],
  ['set_bg 0 free_inodes_count 7', /^The descriptor of group 0: bg_free_inodes_count_lo is 7/],
];

test(
  'checkDisk() names what debugfs has damaged, and e2fsck objects as well',
  { skip: needsJudges },
  async () => {
    const image = await testImage([lower, upper]);
    for (const [command, says] of damages) {
      await withDisk(image, async ({ path }) => {
        const { stderr } = spawnSync('debugfs', ['-w', '-R', command, path], { encoding: 'utf8' });
        await using disk = await RandomAccessFile.open(path);
        const { problems } = await checkDisk(disk);
        const said = `after ${command}: ${problems.join('; ')} ${stderr}`;
        assert.ok(
          problems.some((problem) => says.test(problem)),
          said,
        );
        assert.ok(e2fsckObjects(path), said);
      });
    }
  },
);

test('checkDisk() has something to say of any disk that is not ours, and never throws', async () => {
  for (const sizeBytes of [0, 1 << 20]) {
    const zeros = { sizeBytes, read: async (_: number, target: Uint8Array) => void target.fill(0) };
    assert.equal((await checkDisk(zeros)).problems.length, 1);
  }
  const broken = {
    sizeBytes: 1 << 20,
    read: () => Promise.reject(new Error('The store is down')),
  };
  await assert.rejects(checkDisk(broken), /The store is down/);
});
