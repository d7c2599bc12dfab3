/**
 * Images mounted where a person asked for, outliving the command that mounted them: the agent keeps the image open on
 * behalf of the directory, and no state of ours is needed to undo it.
 */

import { realpath } from 'node:fs/promises';

import { mountUser } from '../agent/agent-calls.ts';
import type { AgentClient } from '../agent/agent-client.ts';
import { mountImageFile, type MountChoices } from './attach.ts';
import type { ImageRef } from '../images/block-images.ts';
import { MountPointTakenError, NotMountedError } from '../errors.ts';
import { listMounts, unmount } from './mounts.ts';

/**
 * Mounts an image on the directory `dir`, until `unmountImage` (or a plain `umount`, which the agent notices in a
 * while). What is written is kept apart, encrypted, and forgotten then. Throws as `AgentClient.open`, `ERR_DEVICE_MOUNT_POINT_TAKEN`, `ERR_DEVICE_LOOP`, `ERR_DEVICE_WRITABLE_SPACE`,
 * and `ERR_COMMAND_FAILED` when mounting fails.
 */
export async function mountImage(
  agent: AgentClient,
  image: ImageRef,
  dir: string,
  { writable = false, spaceBytes }: MountChoices = {},
): Promise<void> {
  const path = await realpath(dir);
  const user = mountUser(path);
  if ((await agent.status()).images.some(({ users }) => users.includes(user))) {
    throw new MountPointTakenError(path);
  }
  const opened = await agent.open({ image, user, writable });
  try {
    await mountImageFile(opened.path, path, { writable, spaceBytes });
    await agent.status(); // where the agent sees it mounted: from now on it would notice a plain umount
  } catch (thrown) {
    await agent.close({ image, user });
    throw thrown;
  }
}

/**
 * Undoes `mountImage`. Throws `ERR_DEVICE_NOT_MOUNTED` if no image is mounted on `dir`, and
 * `ERR_DEVICE_MOUNT_BUSY` if a process uses it.
 */
export async function unmountImage(agent: AgentClient, dir: string): Promise<void> {
  const path = await realpath(dir);
  const user = mountUser(path);
  const { images } = await agent.status();
  const served = images.find(({ users }) => users.includes(user));
  if (served === undefined) throw new NotMountedError(path);
  const mounts = await listMounts();
  if (mounts.some(({ mountPoint }) => mountPoint === path)) await unmount(path, { lazily: false });
  await agent.close({ image: served.image, user });
}
