/**
 * The contract of the archive room: the code of zip functions, from the bytes that somebody uploads to a directory that
 * instances see at /var/task.
 */

/** Names a stored archive and whose key opens it; the code of a zip function's record and its tenant will do. */
export interface ArchiveRef {
  readonly tenant: string;
  /** 64 hex digits, random: two uploads of one file are two archives. */
  readonly archiveId: string;
  /** The root of the store that it is in. */
  readonly rootId: string;
}

/** What an accepted archive is. */
export interface ArchiveFacts {
  /** SHA-256 of the zip file, in base64: Lambda's CodeSha256. */
  readonly codeSha256: string;
  /** Of the zip file: Lambda's CodeSize. */
  readonly codeSizeBytes: number;
  /** Of all files in it. */
  readonly unpackedBytes: number;
}

/** An archive that is in the store. */
export interface StoredArchive extends ArchiveFacts, Omit<ArchiveRef, 'tenant'> {}

/** An unpacked archive, shared with whoever else uses it. Dispose of it when nothing of yours reads it any longer. */
export interface CodeDirectory extends AsyncDisposable {
  /** Absolute. Owned by the worker; any user may read what is in it, nobody is to write. */
  readonly path: string;
}

export interface UnpackOptions {
  /**
   * Any text. A function whose configuration has changed starts from nothing, as in Lambda, although instances of before may
   * still run: it has another. Default: all share.
   */
  readonly sharedBy?: string;
}

/** Archives of all tenants in one store, and the directories of this worker. */
export interface CodeArchives extends AsyncDisposable {
  /**
   * Whether `accept` would take the file. Throws `ERR_ARCHIVE_BAD_ZIP`, whose message says what is wrong, and
   * `ERR_ARCHIVE_TOO_LARGE`; both carry Lambda's error in their details.
   */
  check(zipFile: Uint8Array): Promise<ArchiveFacts>;
  /** Checks the file, seals it for the tenant and stores it, durably. Throws as `check`, and `ERR_STORE_*`, `ERR_KEYS_*`. */
  accept(tenant: string, zipFile: Uint8Array): Promise<StoredArchive>;
  /**
   * Downloads, verifies and unpacks, unless a lease of the archive with the same `sharedBy` is out on this worker: then it is
   * there already. The last lease's end removes the directory. Throws `ERR_ARCHIVE_MISSING`, `ERR_ARCHIVE_CORRUPT`, `ERR_ARCHIVE_NO_SPACE` (retryable),
   * `ERR_STORE_*`, `ERR_KEYS_*`.
   */
  unpack(of: ArchiveRef, options?: UnpackOptions): Promise<CodeDirectory>;
  /** The zip file as it was uploaded. Throws as `unpack`. */
  read(of: ArchiveRef): Promise<Uint8Array>;
  /** No error where it is gone. Directories that are in use stay until they are not. */
  remove(of: ArchiveRef): Promise<void>;
}
