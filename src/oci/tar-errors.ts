/** What can be wrong with a tar archive. */

import { ThawError } from '../base/index.ts';

/** Every code, with its meaning. */
export const tarErrorCodes = {
  ERR_OCI_TAR_TRUNCATED: 'the archive ends inside an entry',
  ERR_OCI_TAR_CHECKSUM:
    'a header does not have the checksum that it states, or is no header at all',
  ERR_OCI_TAR_HEADER: 'a field of a header cannot be read or has a value that makes no sense',
  ERR_OCI_TAR_PAX: 'an extended header is malformed or absurdly large',
  ERR_OCI_TAR_SPARSE: 'the map of a sparse file is malformed, overlaps, or does not fit its data',
  ERR_OCI_TAR_SIZE: 'a file is larger than 16 TiB',
  ERR_OCI_TAR_TYPE: 'an entry has a type that no container image has',
} as const;

export type TarErrorCode = keyof typeof tarErrorCodes;

/** A malformed archive: `offset` is where the header of the entry at fault starts, in bytes. */
export class TarFormatError extends ThawError {
  readonly offset: number;

  /** `entry` is the entry's path as far as it is known; empty where it is not. */
  constructor(code: TarErrorCode, offset: number, entry: string, problem: string) {
    const which = entry === '' ? 'a tar entry' : `tar entry ${JSON.stringify(entry.slice(0, 200))}`;
    super({
      code,
      fault: 'data',
      message: `Cannot read ${which} at byte ${offset}: ${problem}; the layer is damaged or was made by a broken tool`,
    });
    this.offset = offset;
  }
}
