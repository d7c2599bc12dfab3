/** From an image's file to a mounted filesystem. */

import { runCommand } from '../base/index.ts';
import { attachLoopDevice } from './loop-device.ts';

/** How long the two steps took. */
export interface AttachTimes {
  readonly attachMs: number;
  readonly mountMs: number;
}

/**
 * Mounts the ext4 image in the file at `imagePath` on the directory `mountPoint`, through a loop device that detaches
 * itself when the filesystem is unmounted: so nothing is left over, whoever unmounts it. Read-only, it is mounted with
 * `noload`: nothing may be written, not even by replaying a journal.
 */
export async function mountImageFile(
  imagePath: string,
  mountPoint: string,
  { writable }: { writable: boolean } = { writable: false },
): Promise<AttachTimes> {
  const startMs = performance.now();
  await using device = await attachLoopDevice(imagePath, { writable });
  const attachedMs = performance.now();
  const options = `${writable ? 'rw' : 'ro,noload'},nodev,nosuid,errors=continue`;
  await runCommand('mount', ['-n', '-i', '-t', 'ext4', '-o', options, device.path, mountPoint]);
  return { attachMs: attachedMs - startMs, mountMs: performance.now() - attachedMs };
}
