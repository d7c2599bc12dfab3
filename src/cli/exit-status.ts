/** Exit statuses by cause: the one table from error code to status. `thaw --help` prints it. */

import { errorCode } from '../base/index.ts';

/** Stable: scripts depend on them. */
export const exitStatuses = {
  ok: { status: 0, meaning: 'success' },
  bug: { status: 1, meaning: 'unexpected failure: a bug in Thaw, please report it' },
  usage: { status: 2, meaning: 'wrong usage, bad value, malformed reference or configuration' },
  notFound: { status: 3, meaning: 'no such image, function, mount or registry object' },
  badImage: {
    status: 4,
    meaning: 'the image or stored data is corrupt, truncated or not supported',
  },
  unreachable: { status: 5, meaning: 'a registry or store cannot be reached or does not answer' },
  refused: { status: 6, meaning: 'credentials or keys were refused' },
  environment: { status: 7, meaning: 'this machine lacks something (see "thaw doctor")' },
  conflict: { status: 8, meaning: 'it exists already, or is in use' },
  functionError: { status: 9, meaning: 'the function itself failed; its error is on stdout' },
  noSpace: { status: 10, meaning: 'the disk is full' },
  throttled: { status: 11, meaning: 'a limit of this worker is reached; try again later' },
  interrupted: { status: 130, meaning: 'interrupted by a signal' },
} as const satisfies Record<string, { readonly status: number; readonly meaning: string }>;

export type ExitCause = keyof typeof exitStatuses;

/** Every code that Thaw raises, with its cause. A test holds it against the code. */
export const exitStatusByCode: Readonly<Record<string, ExitCause>> = {
  ERR_COMMAND_FAILED: 'environment',
  ERR_COMMAND_MISSING: 'environment',
  ERR_INTERNAL: 'bug',
  ERR_READ_PAST_END: 'badImage',
  ERR_UNIX_BODY_TOO_LONG: 'usage',
  ERR_UNIX_CALL_LOST: 'environment',
  ERR_UNIX_NOT_RUNNING: 'environment',
  ERR_UNIX_NO_ROUTE: 'environment',
  ERR_UNIX_SOCKET_IN_USE: 'conflict',
  ERR_UNIX_TIMEOUT: 'environment',

  ERR_OCI_AMBIGUOUS_REFERENCE: 'usage',
  ERR_OCI_BAD_CREDENTIALS: 'refused',
  ERR_OCI_BAD_DOCUMENT: 'badImage',
  ERR_OCI_BAD_LAYOUT: 'badImage',
  ERR_OCI_BAD_PLATFORM: 'usage',
  ERR_OCI_BAD_REFERENCE: 'usage',
  ERR_OCI_CORRUPT_LAYER: 'badImage',
  ERR_OCI_DIFF_ID_MISMATCH: 'badImage',
  ERR_OCI_DIGEST_MISMATCH: 'badImage',
  ERR_OCI_FORBIDDEN: 'refused',
  ERR_OCI_FOREIGN_LAYER: 'badImage',
  ERR_OCI_NOT_FOUND: 'notFound',
  ERR_OCI_PLATFORM_MISSING: 'notFound',
  ERR_OCI_RATE_LIMITED: 'unreachable',
  ERR_OCI_REGISTRY_FAILED: 'unreachable',
  ERR_OCI_REGISTRY_UNREACHABLE: 'unreachable',
  ERR_OCI_SIZE_MISMATCH: 'badImage',
  ERR_OCI_TAR_CHECKSUM: 'badImage',
  ERR_OCI_TAR_HEADER: 'badImage',
  ERR_OCI_TAR_PAX: 'badImage',
  ERR_OCI_TAR_SIZE: 'badImage',
  ERR_OCI_TAR_SPARSE: 'badImage',
  ERR_OCI_TAR_TRUNCATED: 'badImage',
  ERR_OCI_TAR_TYPE: 'badImage',
  ERR_OCI_TOO_LARGE: 'badImage',
  ERR_OCI_UNAUTHORIZED: 'refused',
  ERR_OCI_UNSUPPORTED_MEDIA_TYPE: 'badImage',
  ERR_OCI_WORK_DIR: 'environment',
  ERR_OCI_WORK_DIR_FULL: 'noSpace',

  ERR_ROOTFS_DEVICE: 'badImage',
  ERR_ROOTFS_LINK_LOOP: 'badImage',
  ERR_ROOTFS_LINK_TARGET: 'badImage',
  ERR_ROOTFS_NOT_A_DIRECTORY: 'badImage',
  ERR_ROOTFS_PATH_TOO_LONG: 'badImage',
  ERR_ROOTFS_SYMLINK_TARGET: 'badImage',
  ERR_ROOTFS_TOO_MANY_ENTRIES: 'badImage',
  ERR_ROOTFS_WHITEOUT: 'badImage',
  ERR_ROOTFS_XATTR: 'badImage',

  ERR_EXT4_BAD_ACL: 'badImage',
  ERR_EXT4_CORRUPT: 'badImage',
  ERR_EXT4_LIMIT: 'badImage',
  ERR_EXT4_UNSUPPORTED: 'badImage',

  ERR_CHUNK_CORRUPT: 'badImage',
  ERR_CHUNK_MANIFEST_ID: 'badImage',
  ERR_CHUNK_MANIFEST_MALFORMED: 'badImage',
  ERR_CHUNK_MANIFEST_SEAL: 'badImage',
  ERR_CHUNK_MANIFEST_SIZE: 'badImage',
  ERR_CHUNK_MANIFEST_UNENCODABLE: 'badImage',
  ERR_CHUNK_MANIFEST_UNRECOGNIZED: 'badImage',
  ERR_CHUNK_MANIFEST_VERSION: 'badImage',
  ERR_CHUNK_POOL_CLOSED: 'bug',
  ERR_CHUNK_WORKER_LOST: 'bug',

  ERR_KEYS_INSECURE_FILE: 'refused',
  ERR_KEYS_LOST: 'refused',
  ERR_KEYS_MALFORMED_FILE: 'refused',
  ERR_KEYS_UNAVAILABLE: 'environment',
  ERR_KEYS_UNWRAP_REFUSED: 'refused',

  ERR_STORE_BAD_NAME: 'usage',
  ERR_STORE_FULL: 'noSpace',
  ERR_STORE_OBJECT_TOO_LARGE: 'badImage',
  ERR_STORE_UNAVAILABLE: 'unreachable',

  ERR_CACHE_CHUNK_CORRUPT: 'badImage',
  ERR_CACHE_CHUNK_MISSING: 'badImage',
  ERR_CACHE_DEADLINE: 'unreachable',

  ERR_CATALOG_AMBIGUOUS: 'usage',
  ERR_CATALOG_BUSY: 'unreachable',
  ERR_CATALOG_CORRUPT: 'environment',
  ERR_CATALOG_FUNCTION_EXISTS: 'conflict',
  ERR_CATALOG_IMAGE_IN_USE: 'conflict',
  ERR_CATALOG_NEWER: 'environment',
  ERR_CATALOG_NO_SUCH_IMAGE: 'notFound',
  ERR_CATALOG_NO_SUCH_ROOT: 'notFound',
  ERR_CATALOG_UNAVAILABLE: 'environment',

  ERR_PUBLISH_CHUNK_MISSING: 'badImage',
  ERR_PUBLISH_EXPORT_EXISTS: 'conflict',
  ERR_PUBLISH_EXPORT_FULL: 'noSpace',
  ERR_PUBLISH_EXPORT_TARGET: 'usage',
  ERR_PUBLISH_FILE_MISSING: 'notFound',
  ERR_PUBLISH_IMAGE_DOCUMENT: 'badImage',
  ERR_PUBLISH_IMAGE_TOO_LARGE: 'badImage',
  ERR_PUBLISH_LAYER_RECORD: 'badImage',
  ERR_PUBLISH_LINK_LOOP: 'notFound',
  ERR_PUBLISH_MANIFEST_MISSING: 'badImage',
  ERR_PUBLISH_NOT_A_DIRECTORY: 'notFound',
  ERR_PUBLISH_NOT_A_FILE: 'usage',

  ERR_DEVICE_AGENT_FAILING: 'environment',
  ERR_DEVICE_AGENT_STOPPING: 'environment',
  ERR_DEVICE_AGENT_UNREACHABLE: 'environment',
  ERR_DEVICE_BAD_REQUEST: 'bug',
  ERR_DEVICE_DEADLINE: 'unreachable',
  ERR_DEVICE_FUSE: 'environment',
  ERR_DEVICE_HOLDER_RUNNING: 'conflict',
  ERR_DEVICE_IMAGE_NOT_OPEN: 'notFound',
  ERR_DEVICE_IMAGE_UNSUPPORTED: 'badImage',
  ERR_DEVICE_LOOP: 'environment',
  ERR_DEVICE_MOUNT_BUSY: 'conflict',
  ERR_DEVICE_MOUNT_POINT_TAKEN: 'conflict',
  ERR_DEVICE_NOT_MOUNTED: 'notFound',
  ERR_DEVICE_WRITABLE_SPACE: 'environment',
  ERR_DEVICE_WRONG_TENANT: 'refused',

  ERR_SANDBOX_CLOSED: 'bug',
  ERR_SANDBOX_ENTRYPOINT: 'badImage',
  ERR_SANDBOX_REMOVE: 'environment',
  ERR_SANDBOX_ROOT_FILE: 'badImage',
  ERR_SANDBOX_RUNTIME_MISSING: 'environment',
  ERR_SANDBOX_SPEC: 'usage',
  ERR_SANDBOX_START: 'environment',
  ERR_SANDBOX_SYSTEM_CALL: 'environment',
  ERR_SANDBOX_USER: 'badImage',

  ERR_FUNCTION_BAD_CONFIG: 'usage',
  ERR_FUNCTION_BAD_ENVIRONMENT: 'usage',
  ERR_FUNCTION_BAD_NAME: 'usage',
  ERR_FUNCTION_BAD_PAYLOAD: 'usage',
  ERR_FUNCTION_NOT_FOUND: 'notFound',
  ERR_FUNCTION_NO_COMMAND: 'usage',
  ERR_FUNCTION_PAYLOAD_TOO_LARGE: 'usage',
  ERR_FUNCTION_STOPPED: 'conflict',
  ERR_FUNCTION_THROTTLED: 'throttled',

  ERR_API_BAD_COMPRESSION: 'usage',
  ERR_API_BAD_DIRECTORY: 'usage',
  ERR_API_BAD_NAME: 'usage',
  ERR_API_IMAGE_NOT_FOUND: 'notFound',
  ERR_API_STOPPING: 'conflict',

  ERR_CLI_CONFIG: 'usage',
  ERR_CLI_ENVIRONMENT: 'environment',
  ERR_CLI_INTERRUPTED: 'interrupted',
  ERR_CLI_USAGE: 'usage',
};

/** The status a command ends with after `thrown`. Aborts are interruptions; the unforeseen is a bug. */
export function exitCauseOf(thrown: unknown): ExitCause {
  if (thrown instanceof Error && thrown.name === 'AbortError') return 'interrupted';
  const code = errorCode(thrown);
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'noSpace';
  if (code === 'EACCES' || code === 'EPERM') return 'environment';
  return (code === undefined ? undefined : exitStatusByCode[code]) ?? 'bug';
}
