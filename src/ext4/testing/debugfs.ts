/** For tests: what debugfs says of a disk. Inodes are asked for by number, so that no name needs quoting. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';

import { present } from '../../base/index.ts';
import type { Extent } from '../extent-tree.ts';

const outputBytesMax = 2 ** 30;

/** Asks all of it of one debugfs, and gives its answers in the same order. */
export function debugfs(diskPath: string, requests: readonly string[]): string[] {
  if (requests.length === 0) return [];
  const output = execFileSync('debugfs', ['-f', '-', diskPath], {
    input: `${requests.join('\n')}\n`,
    encoding: 'latin1',
    env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
    maxBuffer: outputBytesMax,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const [, ...answers] = `\n${output}`.split('\ndebugfs: ');
  assert.equal(answers.length, requests.length, 'debugfs answers every request');
  return answers.map((answer, index) => {
    const request = requests[index] ?? '';
    assert.equal(answer.split('\n', 1)[0], request);
    return answer.slice(request.length + 1);
  });
}

/** An inode's extent tree as debugfs prints it. */
export interface PrintedTree {
  /** 0: the extents stand in the inode. */
  readonly depth: number;
  readonly nodeBlocks: readonly number[];
  readonly extents: readonly Extent[];
}

/** For the output of `dump_extents`, or `dump_extents -n`, which leaves the extents out. */
export function parseExtents(printed: string): PrintedTree {
  const [head, ...lines] = printed.trimEnd().split('\n');
  assert.match(head ?? '', /^Level Entries/);
  const nodeBlocks: number[] = [];
  const extents: Extent[] = [];
  let depth = 0;
  for (const line of lines) {
    const numbers = [...line.matchAll(/\d+/g)].map(([digits]) => Number(digits));
    const [level = 0, levels = 0, , , logicalBlock = 0, , physicalBlock = 0] = numbers;
    depth = levels;
    if (level < levels) nodeBlocks.push(physicalBlock);
    else extents.push({ logicalBlock, physicalBlock, blockCount: present(numbers[8], line) });
  }
  return { depth, nodeBlocks, extents };
}
