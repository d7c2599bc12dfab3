/**
 * How much may be written to a mount. An image's address space is far larger than any disk that what is written lies on,
 * so ext4 is told to hold the rest back: programs, root's too, get ENOSPC while nothing has gone wrong yet, and `df` shows
 * what is left. Source: kernel Documentation/admin-guide/ext4.rst, `reserved_clusters`.
 */

import { statfs, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { WritableSpaceError } from '../errors.ts';

/**
 * Lets the filesystem that is mounted from `device` grow by `spaceBytes`. What overwrites the image's own blocks, and
 * ext4's inode tables and bitmaps, is not counted. Throws `ERR_DEVICE_WRITABLE_SPACE`.
 */
export async function limitWritableSpace(
  device: string,
  mountPoint: string,
  spaceBytes: number,
): Promise<void> {
  const { bfree: freeBlocks, bsize: blockSizeBytes } = await statfs(mountPoint);
  const reservedBlocks = freeBlocks - Math.floor(spaceBytes / blockSizeBytes);
  if (reservedBlocks <= 0) return;
  const setting = join('/sys/fs/ext4', basename(device), 'reserved_clusters');
  await writeFile(setting, String(reservedBlocks)).catch((thrown: unknown) => {
    throw new WritableSpaceError(mountPoint, setting, thrown);
  });
}
