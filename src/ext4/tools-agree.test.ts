/**
 * Four that know a disk are asked field by field, and must say the same: the tree and the writer's plan of it, dumpe2fs, debugfs, and
 * our reader. e2fsck says that a disk is sound; this says that it is the one that was meant.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { needsPrograms } from '../../test/support/programs.ts';
import { expectGroups, expectSuperblock } from './testing/head-agreement.ts';
import { expectHashTrees, expectInodes, expectXattrs } from './testing/inode-agreement.ts';
import { withEachGoldenDisk } from './testing/known-disk.ts';
import { needsJudges } from './testing/oracles.ts';
import { dumpe2fs } from './testing/printed-disk.ts';

/** dumpe2fs takes its time over 4,096 groups; these have between them all kinds of groups. */
const groupsPrintedOf = ['edited', 'colliding', 'stacked'];

test(
  'the plan, dumpe2fs, debugfs and the reader agree on every field of superblock, groups, inodes and hash trees',
  { skip: needsJudges || needsPrograms('dumpe2fs') },
  async () => {
    const groupsChecked: string[] = [];
    let trees = 0;
    await withEachGoldenDisk(async (known) => {
      const withGroups = groupsPrintedOf.includes(known.name);
      const printed = dumpe2fs(known.path, withGroups ? 'all' : 'superblock');
      expectSuperblock(printed, known);
      if (withGroups) await expectGroups(printed, known);
      if (withGroups) groupsChecked.push(known.name);
      await expectInodes(known);
      await expectXattrs(known);
      trees += await expectHashTrees(known);
    });
    assert.deepEqual(groupsChecked, groupsPrintedOf);
    assert.ok(trees >= 2);
  },
);
