/**
 * The byte tables of a manifest, format version 1. `docs/formats/manifest.md` shows the same rows
 * and says what each means; a test holds the two together. Little-endian throughout.
 *
 *   header (120) | chunk table (44 each) | wrapped data key | sealed section | its GCM tag (16)
 *   sealed section: chunk keys (32 each) | image document
 */

import { layout } from '../base/index.ts';
import type { ChunkCodec } from './manifest.ts';

/** `THAWMNFT` in ASCII. */
export const manifestMagic = Buffer.from('THAWMNFT', 'ascii');
export const manifestFormatVersion = 1;

export const manifestHeaderRecord = layout('manifest_header', 120, [
  [0x00, 'bytes8', 'magic'],
  [0x08, 'u32', 'format_version'],
  [0x0c, 'u32', 'flags'], // 0
  [0x10, 'u32', 'disk_format_version'],
  [0x14, 'u32', 'chunk_size'],
  [0x18, 'u64', 'disk_size'],
  [0x20, 'u32', 'chunk_count'],
  [0x24, 'u32', 'sealed_length'],
  [0x28, 'u16', 'wrapped_key_length'],
  [0x2a, 'u16', 'root_id_length'],
  [0x2c, 'bytes12', 'nonce'],
  [0x38, 'bytes64', 'root_id'],
]);

export const manifestChunkRecord = layout('manifest_chunk', 44, [
  [0x00, 'u32', 'chunk_index'],
  [0x04, 'u32', 'stored_length'],
  [0x08, 'u32', 'codec'],
  [0x0c, 'bytes32', 'ciphertext_digest'],
]);

/** Of the AES-256-GCM tag that ends a manifest. */
export const sealTagSizeBytes = 16;
export const sealNonceSizeBytes = 12;

/** `manifest_chunk.codec` by name. */
export const chunkCodecNumbers = {
  none: 0,
  'zstd-v1': 1,
} as const satisfies Record<ChunkCodec, number>;

export const rootIdSizeMaxBytes = 64;
export const wrappedKeySizeMaxBytes = 512;
export const imageDocumentSizeMaxBytes = 1024 * 1024;
/** Bounds what one read must fetch and hold. */
export const chunkSizeMaxBytes = 16 * 1024 * 1024;
/** Keeps every length of a manifest within its field: 8 TiB of disk in default chunks. */
export const chunkCountMax = 2 ** 24;
