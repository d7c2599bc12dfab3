/** Errors of the ext4 room. */

import { ThawError } from '../base/index.ts';

/** A tree holds something that no ext4 filesystem of ours can: a name of 256 bytes, 65,001 links of one file. */
export class Ext4LimitError extends ThawError {
  constructor(message: string) {
    super({ code: 'ERR_EXT4_LIMIT', fault: 'data', message });
  }
}

/** A `system.posix_acl_*` attribute that is no access control list. */
export class Ext4AclError extends ThawError {
  constructor(message: string) {
    super({ code: 'ERR_EXT4_BAD_ACL', fault: 'data', message });
  }
}

/** The bytes read are no ext4 filesystem, or one with a damaged structure. */
export class Ext4CorruptError extends ThawError {
  constructor(message: string, cause?: unknown) {
    super({ code: 'ERR_EXT4_CORRUPT', fault: 'data', message, cause });
  }
}

/** A sound ext4 filesystem that uses a feature which the reader does not know. */
export class Ext4UnsupportedError extends ThawError {
  constructor(message: string) {
    super({ code: 'ERR_EXT4_UNSUPPORTED', fault: 'data', message });
  }
}
