/** The header of a sealed archive. Bytes: `docs/formats/archive.md`. */

import { layout } from '../base/index.ts';

/** `THAWARCH` in ASCII. */
export const archiveMagic = Buffer.from('THAWARCH', 'ascii');
export const archiveFormatVersion = 1;

export const archiveHeader = layout('archive_header', 40, [
  [0x00, 'bytes8', 'magic'],
  [0x08, 'u32', 'format_version'],
  [0x0c, 'u32', 'flags'], // 0
  [0x10, 'u32', 'wrapped_key_length'],
  [0x14, 'u32', 'segment_size'],
  [0x18, 'u32', 'head_length'],
  [0x1c, 'u32', 'lists_length'],
  [0x20, 'u64', 'zip_length'],
]);
