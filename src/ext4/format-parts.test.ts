/** The small parts of the format against outside judges and published values. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

import { byteString, byteStringFromBytes } from '../base/index.ts';
import { portableAcl, storedAcl } from './acl.ts';
import { crc16 } from './crc16.ts';
import { planDirectory } from './directory.ts';
import { encodeExtentTree, extentNodeCount, extentsOf } from './extent-tree.ts';
import { rangesAroundFronts, slotBlock } from './geometry.ts';
import { halfMd4, type HashSeed } from './half-md4.ts';
import { needsJudges } from './testing/oracles.ts';

test('crc16() gives the published check value of CRC-16/ARC', () => {
  assert.equal(crc16(0, Buffer.from('123456789')), 0xbb3d);
});

test(
  'halfMd4() gives what debugfs computes, for every length and with a seed',
  { skip: needsJudges },
  () => {
    const seed: HashSeed = [0x01020304, 0x05060708, 0x090a0b0c, 0x0d0e0f10];
    const seedUuid = '04030201-0807-0605-0c0b-0a09100f0e0d';
    const names = Array.from({ length: 255 }, (_, index) =>
      'abcdefgh-XYZ'.repeat(30).slice(0, index + 1),
    );
    for (const [usedSeed, uuid] of [
      [seed, seedUuid],
      [[0, 0, 0, 0], '00000000-0000-0000-0000-000000000000'],
    ] as const) {
      const commands = names.map((name) => `dx_hash -h half_md4 -s ${uuid} ${name}`).join('\n');
      const printed = execFileSync('debugfs', ['-f', '-'], { input: commands, encoding: 'utf8' });
      const hashes = [...printed.matchAll(/is 0x([0-9a-f]+) \(minor/g)].map(([, hex]) =>
        Number.parseInt(hex ?? '', 16),
      );
      assert.deepEqual(
        names.map((name) => halfMd4(byteString(name), usedSeed)),
        hashes,
      );
    }
  },
);

test('halfMd4() reads bytes above 127 as the flag of the filesystem says', () => {
  const name = byteStringFromBytes(Uint8Array.of(0xe4, 0xff, 0x41, 0x80, 0x81));
  assert.notEqual(halfMd4(name, [1, 2, 3, 4]), halfMd4(name, [1, 2, 3, 4], true));
});

test('no name is lost where a hash tree has leaves', () => {
  const names = Array.from({ length: 5000 }, (_, index) => byteString(`name-${index}`));
  const { hashTree, blockCount } = planDirectory(names, 'd');
  const leaves = hashTree?.leaves ?? [];
  assert.deepEqual(leaves.flatMap((leaf) => leaf.names).sort(), names.sort());
  assert.equal(blockCount, 1 + leaves.length);
});

test('access control lists survive the way to the disk and back', () => {
  const portable = Buffer.from(
    '0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000000ffffffff',
    'hex',
  );
  const stored = storedAcl(portable, 'a test');
  assert.equal(stored.byteLength, 4 + 4 * 4 + 8);
  assert.deepEqual(Buffer.from(portableAcl(stored)), portable);
  assert.throws(() => storedAcl(portable.subarray(1), 'a test'), { code: 'ERR_EXT4_BAD_ACL' });
  assert.throws(() => portableAcl(stored.subarray(0, 6)), { code: 'ERR_EXT4_CORRUPT' });
});

test('extents are cut at 32,768 blocks, where ranges end and where holes are', () => {
  const runs = [
    { logicalBlock: 0, blockCount: 40_000 },
    { logicalBlock: 50_000, blockCount: 10 },
  ];
  const ranges = [
    { firstBlock: 1000, blockCount: 39_000 },
    { firstBlock: 90_000, blockCount: 1010 },
  ];
  assert.deepEqual(extentsOf(runs, ranges), [
    { logicalBlock: 0, physicalBlock: 1000, blockCount: 32_768 },
    { logicalBlock: 32_768, physicalBlock: 33_768, blockCount: 6232 },
    { logicalBlock: 39_000, physicalBlock: 90_000, blockCount: 1000 },
    { logicalBlock: 50_000, physicalBlock: 91_000, blockCount: 10 },
  ]);
});

test('an extent tree needs as many blocks as were counted, at every depth', () => {
  for (const [extentCount, nodeCount] of [
    [0, 0],
    [4, 0],
    [5, 1],
    [340, 1],
    [341, 2],
    [1360, 4],
    [1361, 5 + 1],
  ] as const) {
    assert.equal(extentNodeCount(extentCount), nodeCount);
    const extents = Array.from({ length: extentCount }, (_, index) => {
      return { logicalBlock: index * 2, physicalBlock: 1000 + index, blockCount: 1 };
    });
    const nodeBlocks = Array.from({ length: nodeCount }, (_, index) => 5000 + index);
    assert.equal(encodeExtentTree(extents, nodeBlocks).nodes.length, nodeCount);
  }
});

test('slots lie behind the fronts of groups, and runs of them go round the next front', () => {
  assert.equal(slotBlock(0), 256);
  assert.equal(slotBlock(253), 32_768 - 128);
  assert.equal(slotBlock(254), 32_768 + 256);
  assert.deepEqual(rangesAroundFronts(slotBlock(253), 200), [
    { firstBlock: 32_640, blockCount: 128 },
    { firstBlock: 33_024, blockCount: 72 },
  ]);
});
