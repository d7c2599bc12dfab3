/**
 * A real file system whose disk can be looked at as a power failure would leave it: ext4 on a loop
 * device. What was not synced is in the kernel's memory only, so a copy of the file under the
 * device does not have it. Needs root.
 */

import { copyFile, mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { runCommand } from '../../base/index.ts';

export interface PowerFailureDisk extends AsyncDisposable {
  /** Where the file system is mounted. */
  readonly path: string;
  /**
   * Mounts a copy of what the disk holds now, after the journal's recovery, and lets `look` look at
   * it.
   */
  afterPowerFailure(look: (path: string) => Promise<void>): Promise<void>;
}

const diskSizeBytes = 64 * 1024 * 1024;

/** The kernel writes nothing on its own account meanwhile: it would hide a missing sync. */
const mountOptions = 'loop,commit=600';

async function makeDisk(directory: string): Promise<string> {
  const disk = join(directory, 'disk');
  await writeFile(disk, '');
  await truncate(disk, diskSizeBytes);
  await runCommand('mkfs.ext4', ['-q', '-E', 'lazy_itable_init=0,lazy_journal_init=0', disk]);
  return disk;
}

export async function mountPowerFailureDisk(): Promise<PowerFailureDisk> {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-power-'));
  const path = join(directory, 'live');
  const copy = join(directory, 'copy');
  const copyPath = join(directory, 'after');
  const disk = await makeDisk(directory);
  await mkdir(path);
  await mkdir(copyPath);
  await runCommand('mount', ['-o', mountOptions, disk, path]);
  return {
    path,
    afterPowerFailure: async (look) => {
      await copyFile(disk, copy);
      await runCommand('mount', ['-o', 'loop', copy, copyPath]);
      try {
        await look(copyPath);
      } finally {
        await runCommand('umount', [copyPath]);
      }
    },
    [Symbol.asyncDispose]: async () => {
      await runCommand('umount', [path]);
      await rm(directory, { recursive: true });
    },
  };
}
