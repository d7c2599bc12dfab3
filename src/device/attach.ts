/** From an image's file to a mounted filesystem. */

import { runCommand } from '../base/index.ts';
import { attachLoopDevice } from './loop-device.ts';
import { unmount } from './mounts.ts';
import { limitWritableSpace } from './writable-space.ts';

/** How long the two steps took. */
export interface AttachTimes {
  readonly attachMs: number;
  readonly mountMs: number;
}

/** By default read-only. */
export interface MountChoices {
  readonly writable?: boolean;
  /** How much may be added to a writable one, at least 0. Default: whatever its address space holds. */
  readonly spaceBytes?: number | undefined;
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
  { writable = false, spaceBytes }: MountChoices = {},
): Promise<AttachTimes> {
  const startMs = performance.now();
  await using device = await attachLoopDevice(imagePath, { writable });
  const attachedMs = performance.now();
  const options = `${writable ? 'rw' : 'ro,noload'},nodev,nosuid,errors=continue`;
  await runCommand('mount', ['-n', '-i', '-t', 'ext4', '-o', options, device.path, mountPoint]);
  if (writable && spaceBytes !== undefined) {
    try {
      await limitWritableSpace(device.path, mountPoint, spaceBytes);
    } catch (thrown) {
      await unmount(mountPoint, { lazily: false });
      throw thrown;
    }
  }
  return { attachMs: attachedMs - startMs, mountMs: performance.now() - attachedMs };
}
