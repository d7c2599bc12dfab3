import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { byteString, runCommand } from '../base/index.ts';
import type { Node } from '../rootfs/index.ts';
import { planDisk } from './index.ts';
import { acl, capability } from './testing/golden-corpus.ts';
import { diskDigest, oddName, testImage, type EntryInWords } from './testing/images.ts';
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

const everyKind: readonly EntryInWords[] = [
  { path: './', type: 'directory', mode: 0o755, seconds: 1_600_000_000 },
  { path: 'etc', type: 'directory', mode: 0o1777, uid: 1, gid: 2 },
  { path: 'etc/hostname', data: 'thaw\n', mode: 0o4755, nanoseconds: 123_456_789 },
  { path: 'etc/empty', mode: 0 },
  {
    path: 'hard',
    type: 'hardlink',
    target: 'etc/hostname',
    mode: 0o4755,
    nanoseconds: 123_456_789,
  },
  { path: 'short-link', type: 'symlink', target: 'x'.repeat(59) },
  { path: 'long-link', type: 'symlink', target: 'x'.repeat(60) },
  { path: 'longest-link', type: 'symlink', target: 'x'.repeat(4095) },
  { path: 'dev/null', type: 'character-device', device: [1, 3], mode: 0o666 },
  { path: 'dev/many', type: 'block-device', device: [259, 300_000] },
  { path: 'dev/largest', type: 'block-device', device: [4095, 1_048_575] },
  { path: 'fifo', type: 'fifo' },
  { path: 'big-owner', uid: 4_000_000_000, gid: 3_000_000_000, data: 'x' },
  { path: 'year-2050', seconds: 2_524_608_000, nanoseconds: 999_999_999 },
  { path: 'year-2200', seconds: 7_258_118_400 },
  { path: 'capable', data: 'x', xattrs: { 'security.capability': capability } },
  { path: 'user', data: 'x', xattrs: { 'user.a': 'b', 'user.empty': '' } },
  { path: 'listed', data: 'x', mode: 0o640, xattrs: { 'system.posix_acl_access': acl } },
  {
    path: 'shared',
    type: 'directory',
    mode: 0o750,
    xattrs: { 'system.posix_acl_default': acl, 'user.long': 'x'.repeat(1000) },
  },
  {
    path: 'many-xattrs',
    xattrs: Object.fromEntries(
      Array.from({ length: 40 }, (_, index) => [`user.${'n'.repeat(index)}${index}`, `v${index}`]),
    ),
  },
  { path: 'n'.repeat(255), data: 'x' },
  { path: byteString('ünïcödé/名前'), data: 'x' },
  { path: 'block', data: 4096 },
  { path: 'block-and-a-byte', data: 4097 },
  { path: 'large', data: 3_000_000 },
];

const bigDirectory: readonly EntryInWords[] = Array.from({ length: 10_000 }, (_, index) => {
  return { path: `many/file-${index}`, data: index % 100 === 0 ? `${index}` : 0 };
});

const sparse: readonly EntryInWords[] = [
  {
    path: 'sparse-5g',
    data: 5 * 2 ** 30,
    parts: [
      [0, 5000],
      [3 * 2 ** 30 + 100, 9000],
      [5 * 2 ** 30 - 10, 10],
    ],
  },
  { path: 'only-a-hole', data: 1_000_000, parts: [] },
  {
    path: 'holes',
    data: 4000 * 8192,
    parts: Array.from({ length: 2000 }, (_, index) => [index * 16_384 + 1, 100] as const),
  },
];

const upperLayer: readonly EntryInWords[] = [
  { path: 'etc/hostname', data: 'other\n' },
  { path: '.wh.large' },
  { path: 'etc/from-above', data: 'x' },
  { path: 'link-down', type: 'hardlink', target: 'block' },
  { path: 'user', type: 'directory' },
  { path: 'user/inside', data: 'x' },
];

test(
  'a tree of every kind of file is what e2fsck, the kernel and the reader say it is',
  {
    skip: needsRoot,
  },
  async () => {
    const odd = [{ path: oddName, data: 'odd' }];
    const image = await testImage([
      [...everyKind, ...bigDirectory],
      [...sparse, ...odd],
      upperLayer,
    ]);
    await withDisk(image, async (disk) => {
      await fsck(disk.path);
      await withMount(disk, (mountPoint) => expectKernelFinds(mountPoint, image));
      await expectReaderFindsInFile(disk.path, image);
      const { stdout } = await runCommand('debugfs', ['-R', 'htree_dump /many', disk.path]);
      assert.ok(/Hash Version: 1/.test(stdout));
    });
  },
);

test(
  'an image of zero layers, and one of an empty layer, is an empty root directory',
  { skip: needsJudges },
  async () => {
    for (const layers of [[], [[]]]) {
      const image = await testImage(layers);
      await withDisk(image, async (disk) => {
        await fsck(disk.path);
        await expectReaderFindsInFile(disk.path, image);
        assert.equal(disk.plan.fileCount, 1);
        assert.deepEqual(disk.plan.chunkIndexes(512 * 1024), [0]);
      });
    }
  },
);

test(
  'a layer that deletes everything leaves an empty root directory',
  { skip: needsJudges },
  async () => {
    const image = await testImage([everyKind, [{ path: '.wh..wh..opq' }]]);
    await withDisk(image, async (disk) => {
      await fsck(disk.path);
      await expectReaderFindsInFile(disk.path, image);
    });
  },
);

test(
  'a mounted copy can be written to, and e2fsck agrees afterwards',
  { skip: needsRoot },
  async () => {
    const image = await testImage([[...everyKind, ...bigDirectory]]);
    await withDisk(image, async (disk) => {
      await withMount(
        disk,
        async (mountPoint) => {
          for (let index = 0; index < 500; index += 1) {
            writeFileSync(join(mountPoint, 'many', `new-${index}`), 'written');
          }
          writeFileSync(join(mountPoint, 'data'), Buffer.alloc(1 << 24, 'x'));
          assert.equal(readFileSync(join(mountPoint, 'many', 'new-499'), 'utf8'), 'written');
        },
        'rw,loop',
      );
      await fsck(disk.path);
    });
  },
);

test('planning again, and rendering in other pieces and order, gives the same bytes', async () => {
  const image = await testImage([everyKind, upperLayer]);
  const plan = planDisk(image.tree);
  const again = planDisk(image.tree);
  for (const index of plan.chunkIndexes(512 * 1024).toReversed()) {
    const whole = Buffer.alloc(512 * 1024);
    await plan.render(index * whole.byteLength, whole, image.content);
    const pieces = Buffer.alloc(512 * 1024, 0xff);
    for (let at = 0; at < pieces.byteLength; at += 8192) {
      const piece = pieces.subarray(at, at + 8192);
      await again.render(index * whole.byteLength + at, piece, image.content);
    }
    assert.ok(whole.equals(pieces));
  }
});

test('in which order the maps of a tree were filled makes no difference', async () => {
  const image = await testImage([everyKind, upperLayer]);
  const turned = new Map<Node, Node>();
  const turn = (node: Node): Node => {
    const xattrs = new Map([...node.metadata.xattrs].toReversed());
    const metadata = { ...node.metadata, xattrs };
    const known = turned.get(node);
    if (known !== undefined) return known;
    const twin: Node =
      node.type === 'directory'
        ? {
            ...node,
            metadata,
            changedByLayers: node.changedByLayers.toReversed(),
            entries: new Map(
              [...node.entries].toReversed().map(([name, below]) => [name, turn(below)]),
            ),
          }
        : { ...node, metadata };
    turned.set(node, twin);
    return twin;
  };
  const root = turn(image.tree.root);
  assert.ok(root.type === 'directory');
  const other = planDisk({ ...image.tree, root });
  assert.equal(
    await diskDigest(other, image.content),
    await diskDigest(planDisk(image.tree), image.content),
  );
});

test('what is not in chunkIndexes is zero, at every chunk size', async () => {
  const image = await testImage([everyKind, upperLayer]);
  const plan = planDisk(image.tree);
  const blocks = new Set(plan.chunkIndexes(4096));
  for (const index of plan.chunkIndexes(512 * 1024)) {
    const chunk = Buffer.alloc(512 * 1024);
    await plan.render(index * chunk.byteLength, chunk, image.content);
    for (let block = 0; block < 128; block += 1) {
      if (blocks.has(index * 128 + block)) continue;
      const bytes = chunk.subarray(block * 4096, (block + 1) * 4096);
      assert.ok(bytes.every((byte) => byte === 0));
    }
  }
  for (const size of [4096, 65_536, 1 << 20, 1 << 27]) {
    const expected = new Set([...blocks].map((block) => Math.floor((block * 4096) / size)));
    assert.deepEqual(plan.chunkIndexes(size), [...expected]);
  }
});

test('limits of ext4 are named together with the file that passes them', async () => {
  const manyXattrs = { 'user.a': 'x'.repeat(3000), 'user.b': 'x'.repeat(3000) };
  const tooMany = await testImage([[{ path: 'full', xattrs: manyXattrs }]]);
  assert.throws(() => planDisk(tooMany.tree), { code: 'ERR_EXT4_LIMIT', message: /"full"/ });
  const links = Array.from({ length: 65_000 }, (_, index): EntryInWords => {
    return { path: `${index}`, type: 'hardlink', target: 'file' };
  });
  const tooLinked = await testImage([[{ path: 'file' }, ...links]]);
  assert.throws(() => planDisk(tooLinked.tree), { code: 'ERR_EXT4_LIMIT', message: /65001/ });
  const noAcl = await testImage([[{ path: 'listed' }]]);
  const badAcl = new Map([['system.posix_acl_access', Buffer.from('no list')]]);
  Object.assign(noAcl.tree.root.entries.get(byteString('listed')) ?? {}, {
    metadata: { ...noAcl.tree.root.metadata, xattrs: badAcl },
  });
  assert.throws(() => planDisk(noAcl.tree), { code: 'ERR_EXT4_BAD_ACL', message: /"listed"/ });
});

test('a planned disk reads as the tree without being written anywhere', async () => {
  const image = await testImage([everyKind, upperLayer]);
  await expectReaderFinds(planAsDisk(planDisk(image.tree), image.content), image);
});
