/** The directory that all of a Thaw's state lies in, made on first use. */

import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

import { errorCode, errorMessage } from '../base/index.ts';
import { EnvironmentError } from './errors.ts';

/** With what is missing above it. Throws `ERR_CLI_ENVIRONMENT`. */
export async function makeStateDirectory(root: string): Promise<void> {
  try {
    await makeDirectory(root, 2);
    if ((await stat(root)).isDirectory()) return;
  } catch (thrown) {
    const remedy = 'choose another with --root or THAW_ROOT';
    throw new EnvironmentError(
      `Cannot keep state in "${root}": ${errorMessage(thrown)}; ${remedy}`,
    );
  }
  throw new EnvironmentError(`Cannot keep state in "${root}": it is no directory; name one`);
}

/** One by one: Node's own recursion (24.x) never ends where the kernel denies that the parent is there, as in /proc. */
async function makeDirectory(path: string, triesLeft: number): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (thrown) {
    const code = errorCode(thrown);
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT' || triesLeft === 1) throw thrown;
    await makeDirectory(dirname(path), 2);
    await makeDirectory(path, 1);
  }
}
