/**
 * Reads an uploaded zip file to its last byte and finds out what unpacking it comes to. Whatever is wrong with it is found
 * here: what this lets through is unpacked without a further look.
 *
 * The central directory counts, as for Info-ZIP; that its entries' data lie inside the file and no two overlap is checked, or a few
 * bytes could be made to count for very many. Sizes are counted while unpacking, checksums compared.
 * Source: APPNOTE.TXT 6.3.10; Info-ZIP's zip(1), for what the external attributes hold on Unix.
 */

import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

import {
  fromBufferPromise,
  getFileNameLowLevel,
  validateFileName,
  type Entry,
  type ZipFile,
} from 'yauzl';

import { errorMessage, roundUp, viewOf } from '../base/index.ts';
import {
  diskBlockBytes,
  encodePlan,
  type EncodedPlan,
  type PlannedDirectory,
  type PlannedFile,
  type PlannedLink,
} from './archive-plan.ts';
import type { ArchiveFacts } from './code-archives.ts';
import { CodeTree, cleanPath } from './code-tree.ts';
import { ArchiveBadZipError, ArchiveTooLargeError } from './errors.ts';
import { inflateEntry, type Method } from './inflate-entry.ts';
import { entriesMax, pathMaxBytes, unpackedMaxBytes, zipSizeMaxBytes } from './limits.ts';

/** An accepted zip file. */
export interface CheckedZip extends EncodedPlan {
  readonly facts: ArchiveFacts;
}

interface FoundEntry extends PlannedFile {
  readonly kind: 'directory' | 'file' | 'link';
  readonly crc32: number;
  /** From its local header to the end of its data. */
  readonly span: readonly [from: number, to: number];
}

/** stat.h: the type of a file in its mode. */
const fileType = { mask: 0o170000, regular: 0o100000, directory: 0o040000, link: 0o120000 };
/** Source: APPNOTE.TXT 4.4.2.2. */
const madeOnUnix = 3;
/** Source: APPNOTE.TXT 4.4.4. */
const flags = { encrypted: 0x1, utf8: 0x800 };

/** Throws `ERR_ARCHIVE_BAD_ZIP`, `ERR_ARCHIVE_TOO_LARGE`. `zip` stays the caller's. */
export async function checkZip(zip: Uint8Array): Promise<CheckedZip> {
  if (zip.byteLength > zipSizeMaxBytes) throw new ArchiveTooLargeError('Zipped', zipSizeMaxBytes);
  const entries = await readEntries(viewOf(zip));
  if (entries.length === 0) throw new ArchiveBadZipError('it is empty');
  const unpackedBytes = entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  if (unpackedBytes > unpackedMaxBytes)
    throw new ArchiveTooLargeError('Unzipped', unpackedMaxBytes);
  checkSpans(entries);
  const found = await buildTree(zip, entries);
  const facts: ArchiveFacts = {
    codeSha256: createHash('sha256').update(zip).digest('base64'),
    codeSizeBytes: zip.byteLength,
    unpackedBytes,
  };
  return { facts, ...encodePlan(facts, found) };
}

async function readEntries(zip: Buffer): Promise<FoundEntry[]> {
  const found: FoundEntry[] = [];
  try {
    const file = await fromBufferPromise(zip, { decodeStrings: false });
    if (file.entryCount > entriesMax) {
      throw new ArchiveBadZipError(`it has more than ${entriesMax} entries`);
    }
    for await (const entry of file.eachEntry()) found.push(await foundEntry(file, entry));
  } catch (thrown) {
    if (thrown instanceof ArchiveBadZipError) throw thrown;
    throw new ArchiveBadZipError(errorMessage(thrown).replace(/\.$/, ''), thrown);
  }
  return found;
}

/**
 * What zip(1) writes on Unix where the locale is not known is UTF-8 without saying so; unzip(1) takes it as it is.
 */
function nameOf(entry: Entry): string {
  const { generalPurposeBitFlag: bits, fileNameRaw: raw, extraFields, versionMadeBy } = entry;
  const isFromUnix = versionMadeBy >> 8 === madeOnUnix;
  const isText = isUtf8(raw);
  const name = getFileNameLowLevel(
    isFromUnix && isText ? bits | flags.utf8 : bits,
    raw,
    extraFields,
    false,
  );
  const shown = JSON.stringify(name.slice(0, 200));
  if ((bits & flags.utf8) !== 0 && !isText) {
    throw new ArchiveBadZipError(`the name ${shown} is not the UTF-8 that it says to be`);
  }
  const problem = validateFileName(name);
  if (problem !== null) throw new ArchiveBadZipError(problem);
  return name;
}

async function foundEntry(file: ZipFile, entry: Entry): Promise<FoundEntry> {
  const name = nameOf(entry);
  const shown = JSON.stringify(name.slice(0, 200));
  if ((entry.generalPurposeBitFlag & flags.encrypted) !== 0) {
    throw new ArchiveBadZipError(`${shown} is encrypted`);
  }
  const { fileDataStart } = await file.readLocalFileHeaderPromise(entry, { minimal: true });
  const { kind, mode } = attributesOf(entry, name);
  return {
    kind,
    mode,
    path: cleanPath(name),
    method: methodOf(entry, shown),
    offset: fileDataStart,
    compressedBytes: entry.compressedSize,
    sizeBytes: entry.uncompressedSize,
    modifiedSeconds: Math.floor(entry.getLastModDate({ timezone: 'UTC' }).getTime() / 1000),
    crc32: entry.crc32,
    span: [entry.relativeOffsetOfLocalHeader, fileDataStart + entry.compressedSize],
  };
}

function methodOf({ compressionMethod }: Entry, shown: string): Method {
  if (compressionMethod === 0) return 'stored';
  if (compressionMethod === 8) return 'deflated';
  throw new ArchiveBadZipError(
    `${shown} is compressed by method ${compressionMethod}; only "deflate" and "store" are known`,
  );
}

/**
 * Any user may read what the archive holds, and run what its owner may run; no set-user-id. Where the archive has no
 * modes (it was made on Windows), what unzip(1) gives.
 */
function attributesOf(entry: Entry, name: string): Pick<FoundEntry, 'kind' | 'mode'> {
  const shown = JSON.stringify(name.slice(0, 200));
  const attributes = entry.externalFileAttributes >>> 16;
  const type = attributes & fileType.mask;
  const mode = attributes & 0o777;
  if (name.endsWith('/') || type === fileType.directory) {
    if (entry.uncompressedSize > 0) {
      throw new ArchiveBadZipError(`the directory ${shown} has content`);
    }
    return { kind: 'directory', mode: mode | 0o755 };
  }
  if (type === fileType.link) return { kind: 'link', mode: 0o777 };
  if (type !== 0 && type !== fileType.regular) {
    throw new ArchiveBadZipError(`${shown} is neither file, directory nor symbolic link`);
  }
  if (mode === 0) return { kind: 'file', mode: 0o644 };
  return { kind: 'file', mode: mode | 0o444 | ((mode & 0o111) === 0 ? 0 : 0o111) };
}

function checkSpans(entries: readonly FoundEntry[]): void {
  let end = 0;
  for (const { path, span } of entries.toSorted((a, b) => a.span[0] - b.span[0])) {
    if (span[0] < end) {
      throw new ArchiveBadZipError(`${JSON.stringify(path.slice(0, 200))} overlaps another entry`);
    }
    end = span[1];
  }
}

async function buildTree(zip: Uint8Array, entries: readonly FoundEntry[]) {
  const tree = new CodeTree();
  const files: PlannedFile[] = [];
  const directories: PlannedDirectory[] = [];
  const links: PlannedLink[] = [];
  let diskBytes = 0;
  for (const entry of entries) {
    const { path, kind, mode, modifiedSeconds } = entry;
    if (kind === 'directory') {
      tree.addDirectory(path);
      if (path !== '') directories.push({ path, mode, modifiedSeconds });
    } else if (kind === 'link') {
      const target = await linkTarget(zip, entry);
      tree.addLink(path, target);
      links.push({ path, target, modifiedSeconds });
    } else {
      tree.addFile(path);
      await checkContent(zip, entry, () => {});
      files.push(entry);
      diskBytes += roundUp(entry.sizeBytes, diskBlockBytes);
    }
  }
  tree.checkLinks();
  files.sort((a, b) => a.offset - b.offset);
  return { files, directories, links, diskBytes: diskBytes + tree.size * diskBlockBytes };
}

async function linkTarget(zip: Uint8Array, entry: FoundEntry): Promise<string> {
  if (entry.sizeBytes > pathMaxBytes) {
    throw new ArchiveBadZipError(`the symbolic link ${JSON.stringify(entry.path)} is too long`);
  }
  const pieces: Uint8Array[] = [];
  await checkContent(zip, entry, (piece) => pieces.push(piece));
  return Buffer.concat(pieces).toString();
}

/** Unpacks an entry to see that it can be. */
async function checkContent(
  zip: Uint8Array,
  entry: FoundEntry,
  take: (piece: Uint8Array) => void,
): Promise<void> {
  const { path, offset, compressedBytes, method, sizeBytes } = entry;
  const data = zip.subarray(offset, offset + compressedBytes);
  const refuse = (problem: string, cause?: unknown): ArchiveBadZipError =>
    new ArchiveBadZipError(
      `${JSON.stringify(path.slice(0, 200))} cannot be unpacked: ${problem}`,
      cause,
    );
  let sum = 0;
  try {
    for await (const piece of inflateEntry(data, method, sizeBytes)) {
      sum = crc32(piece, sum);
      take(piece);
    }
  } catch (thrown) {
    throw refuse(errorMessage(thrown), thrown);
  }
  if (sum !== entry.crc32) throw refuse('its checksum is another');
}
