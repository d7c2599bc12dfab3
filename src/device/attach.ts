/** From an image's file to a mounted root filesystem, and back. */

import { runCommand } from '../base/index.ts';

/**
 * Mounts the ext4 image in the file at `imagePath` read-only on the directory `mountPoint`, through a loop device that
 * detaches itself when the filesystem is unmounted, so that nothing is left over whoever unmounts it. `noload`: there is
 * no journal to replay, and nothing may be written.
 */
export async function mountImageFile(imagePath: string, mountPoint: string): Promise<void> {
  const options = 'loop,ro,noload,nodev,nosuid,errors=continue';
  await runCommand('mount', ['-n', '-i', '-t', 'ext4', '-o', options, imagePath, mountPoint]);
}
