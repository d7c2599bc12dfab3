/** What is built of the stargz library with Go, which fetches it from its module proxy the first time. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { runCommand } from '../../src/base/index.ts';
import { keptDirectory, timeoutMs } from './make-images.ts';

export interface StargzPrograms {
  /** `stargz/daemon` */
  readonly daemon: string;
  /** `stargz/convert` */
  readonly convert: string;
}

export async function stargzPrograms(): Promise<StargzPrograms> {
  const directory = join(keptDirectory, 'stargz');
  await mkdir(directory, { recursive: true });
  await runCommand('go', ['build', '-buildvcs=false', '-o', `${directory}/`, './...'], {
    cwd: join(import.meta.dirname, 'stargz'),
    timeoutMs,
  });
  return { daemon: join(directory, 'daemon'), convert: join(directory, 'convert') };
}
