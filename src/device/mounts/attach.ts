/** From an image's file to a mounted filesystem. */

import { runCommand } from '../../base/index.ts';
import { attachLoopDevice } from './loop-device.ts';
import { unmount } from './mounts.ts';
import { MountFlag, tryMount } from '../system-calls.ts';
import { limitWritableSpace } from './writable-space.ts';

/** What was mounted, and how long the two steps took. */
export interface AttachedImage {
  /** The loop device, such as `/dev/loop0`. */
  readonly device: string;
  readonly attachMs: number;
  readonly mountMs: number;
}

/** By default read-only. */
export interface MountChoices {
  readonly writable?: boolean;
  /** How much may be added to a writable one, at least 0. Default: whatever its address space holds. */
  readonly spaceBytes?: number | undefined;
  /** Reads fewer inodes around one that is read: a start that loads them all waits for them. Default false. */
  readonly isStart?: boolean;
}

/**
 * Mounts the ext4 image in the file at `imagePath` on the directory `mountPoint`, through a loop device that detaches
 * itself when the filesystem is unmounted: so nothing is left over, whoever unmounts it. Read-only, it is mounted with
 * `noload`: nothing may be written, not even by replaying a journal. Throws `ERR_DEVICE_LOOP`, `ERR_COMMAND_FAILED`,
 * `ERR_DEVICE_WRITABLE_SPACE`.
 */
export async function mountImageFile(
  imagePath: string,
  mountPoint: string,
  { writable = false, spaceBytes, isStart = false }: MountChoices = {},
): Promise<AttachedImage> {
  const startMs = performance.now();
  await using device = await attachLoopDevice(imagePath, { writable });
  const attachedMs = performance.now();
  await mountExt4(device.path, mountPoint, { writable, isStart });
  if (writable && spaceBytes !== undefined) {
    try {
      await limitWritableSpace(device.path, mountPoint, spaceBytes);
    } catch (thrown) {
      await unmount(mountPoint, { lazily: false });
      throw thrown;
    }
  }
  const times = { attachMs: attachedMs - startMs, mountMs: performance.now() - attachedMs };
  return { device: device.path, ...times };
}

/** Of 32 by default: 16 KiB in place of 128. */
const startInodeReadAheadBlocks = 4;

/** By the system call: starting a program for it takes as long as all else here. Where that fails, the program says why. */
async function mountExt4(
  device: string,
  mountPoint: string,
  { writable, isStart }: { readonly writable: boolean; readonly isStart: boolean },
): Promise<void> {
  const flags = MountFlag.MS_NODEV | MountFlag.MS_NOSUID | (writable ? 0 : MountFlag.MS_RDONLY);
  const inodeReadAhead = isStart ? `,inode_readahead_blks=${startInodeReadAheadBlocks}` : '';
  const data = `${writable ? '' : 'noload,'}errors=continue${inodeReadAhead}`;
  if (await tryMount(device, mountPoint, 'ext4', flags, data)) return;
  const options = `${writable ? 'rw' : 'ro'},nodev,nosuid,${data}`;
  await runCommand('mount', ['-n', '-i', '-t', 'ext4', '-o', options, device, mountPoint]);
}
