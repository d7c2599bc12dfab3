/** Why a layer cannot be applied. */

import { ThawError, byteStringToDisplay, type ByteString } from '../base/index.ts';

/** Every code, with its meaning. */
export const rootfsErrorCodes = {
  ERR_ROOTFS_PATH_TOO_LONG: 'a path is longer than 4096 bytes, or a name in it longer than 255',
  ERR_ROOTFS_NOT_A_DIRECTORY: 'a path leads through something that is no directory',
  ERR_ROOTFS_LINK_LOOP: 'a path leads through symbolic links that never end',
  ERR_ROOTFS_LINK_TARGET: 'a hard link names a directory or nothing that exists',
  ERR_ROOTFS_SYMLINK_TARGET: 'a symbolic link is empty or longer than 4095 bytes',
  ERR_ROOTFS_WHITEOUT: 'a whiteout names nothing that a directory can hold',
  ERR_ROOTFS_XATTR: 'an extended attribute has a name or a size that Linux does not take',
  ERR_ROOTFS_DEVICE: 'a device has numbers that Linux does not take',
  ERR_ROOTFS_TOO_MANY_ENTRIES:
    'the layers have more entries, attributes and sparse runs than one image may have',
} as const;

export type RootfsErrorCode = keyof typeof rootfsErrorCodes;

/** An entry of a layer that cannot be applied to the layers below it. */
export class ApplyError extends ThawError {
  /** `sha256:…` of the layer's uncompressed tar. */
  readonly diffId: string;
  /** As the layer's tar has it. */
  readonly path: ByteString;

  constructor(code: RootfsErrorCode, diffId: string, path: ByteString, problem: string) {
    super({ code, fault: 'data', message: describe(diffId, path, problem) });
    this.diffId = diffId;
    this.path = path;
  }
}

function describe(diffId: string, path: ByteString, problem: string): string {
  const shown = JSON.stringify(byteStringToDisplay(path).slice(0, 200));
  return `Cannot apply ${shown} of layer ${diffId}: ${problem}; have the image rebuilt`;
}
