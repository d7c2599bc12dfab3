/**
 * Tables of tar's 512-byte blocks. Names as in the specifications, so that they can be looked up there:
 * POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format" (`struct posix_header`,
 * `struct oldgnu_header`, `struct sparse`, `struct sparse_header`, `struct star_header`).
 *
 * Numbers are text in tar, so that all fields are bytes here; `tar-fields.ts` reads them.
 */

import { type Layout, type LayoutRow, layout } from '../base/index.ts';

/** Everything in a tar archive is a multiple of this. */
export const blockSizeBytes = 512;

/** `posix_header`: what all dialects share, up to `linkname` in v7, up to `prefix` in ustar and pax. */
export const PosixHeader = layout('posix_header', 512, [
  [0, 'bytes100', 'name'],
  [100, 'bytes8', 'mode'],
  [108, 'bytes8', 'uid'],
  [116, 'bytes8', 'gid'],
  [124, 'bytes12', 'size'],
  [136, 'bytes12', 'mtime'],
  [148, 'bytes8', 'chksum'],
  [156, 'bytes1', 'typeflag'],
  [157, 'bytes100', 'linkname'],
  [257, 'bytes6', 'magic'],
  [263, 'bytes2', 'version'],
  [265, 'bytes32', 'uname'],
  [297, 'bytes32', 'gname'],
  [329, 'bytes8', 'devmajor'],
  [337, 'bytes8', 'devminor'],
  [345, 'bytes155', 'prefix'],
  [500, 'bytes12', '_pad'],
]);

/** `oldgnu_header`: what GNU tar has instead of `prefix`. */
export const OldGnuHeader = layout('oldgnu_header', 512, [
  [0, 'bytes345', '_posix'],
  [345, 'bytes12', 'atime'],
  [357, 'bytes12', 'ctime'],
  [369, 'bytes12', 'offset'],
  [381, 'bytes4', 'longnames'],
  [385, 'bytes1', '_unused'],
  [386, 'bytes96', 'sp'], // four `struct sparse`
  [482, 'bytes1', 'isextended'],
  [483, 'bytes12', 'realsize'],
  [495, 'bytes17', '_pad'],
]);

/** `sparse_header`: a block that carries an old GNU sparse map on. */
export const SparseExtension = layout('sparse_header', 512, [
  [0, 'bytes504', 'sp'], // 21 `struct sparse`
  [504, 'bytes1', 'isextended'],
  [505, 'bytes7', '_pad'],
]);

/** `struct sparse`: a run of data of an old GNU sparse file. */
export const SparseRun = layout('sparse', 24, [
  [0, 'bytes12', 'offset'],
  [12, 'bytes12', 'numbytes'],
]);

/** `star_header`: what Jörg Schilling's star has instead of the end of `prefix`. */
export const StarHeader = layout('star_header', 512, [
  [0, 'bytes345', '_posix'],
  [345, 'bytes131', 'prefix'],
  [476, 'bytes12', 'atime'],
  [488, 'bytes12', 'ctime'],
  [500, 'bytes8', '_pad'],
  [508, 'bytes4', 'trailer'],
]);

export interface FieldRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Where a record's fields lie. Reading a field in place is several times faster than decoding whole
 * headers, and an image has a header for each of up to a million files.
 */
export function fieldRanges<const Rows extends readonly LayoutRow[]>(
  record: Layout<Rows>,
): Readonly<Record<Rows[number][2], FieldRange>> {
  const ranges: Record<string, FieldRange> = {};
  for (const [index, [start, , name]] of record.rows.entries()) {
    ranges[name] = { start, end: record.rows[index + 1]?.[0] ?? record.sizeBytes };
  }
  return ranges as Record<Rows[number][2], FieldRange>;
}
