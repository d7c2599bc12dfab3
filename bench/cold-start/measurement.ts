/** What is measured, and by what, so that samples of different things are never put together. */

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { runCommand } from '../../src/base/index.ts';
import { corpusDirectory } from '../corpus/index.ts';
import { compiled } from '../support/shaped-link/program.ts';

export interface Measurement {
  /** For readers: what was checked out, with a `+` if it was changed. */
  readonly commit: string;
  /** A digest of all that Thaw runs. */
  readonly code: string;
  /** The link's program, by its digest. */
  readonly link: string;
  /** Raised when something else is timed, or under other conditions. */
  readonly method: number;
}

const method = 2;
const root = join(import.meta.dirname, '../..');
/** What the product consists of. */
const parts = ['src', 'bin'];

async function codeDigest(): Promise<string> {
  const digest = createHash('sha256').update(await readFile(join(root, 'package-lock.json')));
  for (const part of parts) {
    const entries = await readdir(join(root, part), { recursive: true, withFileTypes: true });
    const paths = entries
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name))
      .filter((path) => !path.endsWith('.test.ts') && !path.includes('/testing/'));
    for (const path of paths.toSorted()) {
      digest.update(path.slice(root.length)).update(await readFile(path));
    }
  }
  return digest.digest('hex').slice(0, 12);
}

async function git(...args: readonly string[]): Promise<string> {
  return (await runCommand('git', ['-C', root, ...args])).stdout.trim();
}

async function commitName(): Promise<string> {
  const commit = await git('rev-parse', '--short', 'HEAD');
  const changed = await git('status', '--porcelain', '--untracked-files=no', '--', ...parts);
  return changed === '' ? commit : `${commit}+`;
}

export async function presentMeasurement(): Promise<Measurement> {
  return {
    commit: await commitName(),
    code: await codeDigest(),
    link: basename(await compiled('link', corpusDirectory)),
    method,
  };
}
