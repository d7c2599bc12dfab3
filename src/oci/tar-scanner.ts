/**
 * Lists the entries of an uncompressed tar archive, reading its headers only: file data is skipped by offset.
 *
 * All dialects that image layers come in: v7, ustar, star, GNU, pax, with the sparse formats of GNU tar. Where they leave
 * room, this decides as Go's archive/tar, which all other unpackers of images use: pax global headers are
 * checked but change nothing, links and directories have no data whatever their size says, an
 * archive may end without its two zero blocks, and what follows these is not looked at.
 *
 * Memory: a window of 64 KiB and what one entry needs (extended headers of up to 1 MiB each).
 */

import { isAscii } from 'node:buffer';

import { type ByteString, type RandomAccess, roundUp } from '../base/index.ts';
import type { DataSegment, TarEntry, TarEntryType, Timestamp } from './tar-entry.ts';
import { type TarErrorCode, TarFormatError } from './tar-errors.ts';
import {
  hasValidChecksum,
  isZeroBlock,
  parseDecimal,
  parseTime,
  readNumber,
  readText,
} from './tar-fields.ts';
import {
  type FieldRange,
  OldGnuHeader,
  PosixHeader,
  StarHeader,
  blockSizeBytes,
  fieldRanges,
} from './tar-layout.ts';
import {
  type PaxRecords,
  PaxSyntaxError,
  noPaxRecords,
  parsePaxRecords,
  xattrsOf,
} from './tar-pax.ts';
import {
  SparseMapError,
  type SparseMapRun,
  parsePaxMap,
  paxSparseFormat,
  readDataMap,
  readOldGnuMap,
  segmentsOf,
} from './tar-sparse.ts';

/** ext4's largest file with 4 KiB blocks. */
const fileSizeMax = 2 ** 44;
const extendedHeaderSizeMax = 1 << 20;
/** 2^32 - 1 means "no id" to Linux. */
const ownerIdMax = 2 ** 32 - 2;
const deviceNumberMax = 2 ** 32 - 1;
const windowSizeBytes = 1 << 16;

/**
 * The entries of `tar`, in its order. Errors carry the path and offset of the entry at fault: `ERR_OCI_TAR_TRUNCATED`, `_CHECKSUM`,
 * `_HEADER`, `_PAX`, `_SPARSE`, `_SIZE`, `_TYPE`; entries yielded before one are good. Every segment
 * yielded lies within the archive.
 */
export async function* scanTar(tar: RandomAccess): AsyncGenerator<TarEntry> {
  const archive = new ArchiveReader(tar);
  let extension = noExtension;
  for (let offset = 0; ;) {
    const block = await archive.nextHeader(offset);
    if (block === undefined) break;
    const header = readHeader(block, offset);
    if (isExtension(header)) {
      extension = await readExtension(archive, header, extension);
      offset = header.dataOffset + roundUp(header.sizeBytes, blockSizeBytes);
      continue;
    }
    const { entry, endOffset } = await resolveEntry(archive, block, header, extension);
    yield entry;
    extension = noExtension;
    offset = roundUp(endOffset, blockSizeBytes);
  }
  if (extension !== noExtension) {
    throw new TarFormatError(
      'ERR_OCI_TAR_TRUNCATED',
      extension.offset,
      extension.longPath ?? extension.pax.get('path') ?? '',
      'the archive ends after its extended header',
    );
  }
}

/** Reads the archive in windows, so that a run of small files costs one read, not one each. */
class ArchiveReader {
  readonly #tar: RandomAccess;
  readonly #window = Buffer.alloc(windowSizeBytes);
  #windowStart = 0;
  #windowEnd = 0;

  constructor(tar: RandomAccess) {
    this.#tar = tar;
  }

  get sizeBytes(): number {
    return this.#tar.sizeBytes;
  }

  /** The header at `offset`, or undefined at the end of the archive. A view, good until the next read. */
  async nextHeader(offset: number): Promise<Buffer | undefined> {
    // A writer may leave out the last file's padding, so the end need not lie on a block boundary.
    if (offset >= this.sizeBytes) return undefined;
    const block = await this.block(offset, '');
    if (!isZeroBlock(block)) {
      if (hasValidChecksum(block)) return block;
      const problem = 'it has a wrong header checksum';
      throw new TarFormatError('ERR_OCI_TAR_CHECKSUM', offset, '', problem);
    }
    const next = offset + blockSizeBytes;
    if (next >= this.sizeBytes || isZeroBlock(await this.block(next, ''))) return undefined;
    const problem = 'a single block of zeros stands where two would end the archive';
    throw new TarFormatError('ERR_OCI_TAR_HEADER', offset, '', problem);
  }

  /** The block at `offset`, which belongs to `entry`. A view, good until the next read. */
  async block(offset: number, entry: string): Promise<Buffer> {
    const end = offset + blockSizeBytes;
    if (offset < this.#windowStart || end > this.#windowEnd) {
      this.checkInside(end, offset, entry);
      const length = Math.min(windowSizeBytes, this.sizeBytes - offset);
      await this.#tar.read(offset, this.#window.subarray(0, length));
      this.#windowStart = offset;
      this.#windowEnd = offset + length;
    }
    return this.#window.subarray(offset - this.#windowStart, end - this.#windowStart);
  }

  /** A fresh copy of any bytes. */
  async bytes(offset: number, lengthBytes: number): Promise<Buffer> {
    const bytes = Buffer.alloc(lengthBytes);
    if (offset >= this.#windowStart && offset + lengthBytes <= this.#windowEnd) {
      this.#window.copy(bytes, 0, offset - this.#windowStart);
    } else await this.#tar.read(offset, bytes);
    return bytes;
  }

  /** `offset` is that of the entry's header. */
  checkInside(end: number, offset: number, entry: string): void {
    if (end <= this.sizeBytes) return;
    const problem = `it would end at byte ${end}, the archive ends at ${this.sizeBytes}`;
    throw new TarFormatError('ERR_OCI_TAR_TRUNCATED', offset, entry, problem);
  }
}

const posix = fieldRanges(PosixHeader);
const gnu = fieldRanges(OldGnuHeader);
const star = fieldRanges(StarHeader);

type Dialect = 'v7' | 'ustar' | 'star' | 'gnu';

/** A header as it stands, before extended headers change it. */
interface RawHeader {
  readonly offset: number;
  readonly dataOffset: number;
  readonly dialect: Dialect;
  readonly typeflag: string;
  readonly path: ByteString;
  readonly linkTarget: ByteString;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of the data in the archive. */
  readonly sizeBytes: number;
  readonly modifiedSeconds: number;
}

function readHeader(block: Buffer, offset: number): RawHeader {
  const dialect = dialectOf(block);
  const path = readPath(block, dialect);
  const number = (range: FieldRange, name: string): number => {
    const value = readNumber(block, range);
    if (value !== undefined) return value;
    throw new TarFormatError('ERR_OCI_TAR_HEADER', offset, path, `its ${name} is no number`);
  };
  const sizeBytes = number(posix.size, 'size');
  if (sizeBytes < 0) {
    throw new TarFormatError('ERR_OCI_TAR_HEADER', offset, path, 'its size is negative');
  }
  return {
    offset,
    dataOffset: offset + blockSizeBytes,
    dialect,
    typeflag: block.toString('latin1', posix.typeflag.start, posix.typeflag.end),
    path,
    linkTarget: readText(block, posix.linkname),
    mode: number(posix.mode, 'mode'),
    uid: number(posix.uid, 'owner'),
    gid: number(posix.gid, 'group'),
    sizeBytes,
    modifiedSeconds: number(posix.mtime, 'modification time'),
  };
}

function dialectOf(block: Buffer): Dialect {
  const magic = block.toString('latin1', posix.magic.start, posix.version.end);
  if (magic === 'ustar  \0') return 'gnu';
  if (!magic.startsWith('ustar\0')) return 'v7';
  return block.toString('latin1', star.trailer.start, star.trailer.end) === 'tar\0'
    ? 'star'
    : 'ustar';
}

function readPath(block: Buffer, dialect: Dialect): ByteString {
  const name = readText(block, posix.name);
  const prefix = readPrefix(block, dialect);
  return prefix === '' ? name : (`${prefix}/${name}` as ByteString);
}

function readPrefix(block: Buffer, dialect: Dialect): string {
  if (dialect === 'ustar') return readText(block, posix.prefix);
  if (dialect === 'star') return readText(block, star.prefix);
  return dialect === 'gnu' ? misplacedPrefix(block) : '';
}

/**
 * Go before 1.8, and so many an old image, wrote a prefix into GNU headers, where the times of access
 * and change belong. It gives itself away: those are then no numbers.
 */
function misplacedPrefix(block: Buffer): string {
  const areNumbers = [gnu.atime, gnu.ctime].every(
    (range) => block[range.start] === 0 || readNumber(block, range) !== undefined,
  );
  if (areNumbers) return '';
  const prefix = readText(block, posix.prefix);
  return isAscii(Buffer.from(prefix, 'latin1')) ? prefix : '';
}

/** What extended headers say about the next entry. */
interface Extension {
  /** Where the first of them starts. */
  readonly offset: number;
  readonly pax: PaxRecords;
  readonly longPath: ByteString | undefined;
  readonly longLinkTarget: ByteString | undefined;
}

const noExtension: Extension = {
  offset: 0,
  pax: noPaxRecords,
  longPath: undefined,
  longLinkTarget: undefined,
};

function isExtension({ typeflag }: RawHeader): boolean {
  return typeflag === 'x' || typeflag === 'g' || typeflag === 'L' || typeflag === 'K';
}

async function readExtension(
  archive: ArchiveReader,
  header: RawHeader,
  before: Extension,
): Promise<Extension> {
  const { offset, path, dataOffset, sizeBytes } = header;
  if (sizeBytes > extendedHeaderSizeMax) {
    const problem = `its extended header has ${sizeBytes} bytes, more than ${extendedHeaderSizeMax}`;
    throw new TarFormatError('ERR_OCI_TAR_PAX', offset, path, problem);
  }
  archive.checkInside(dataOffset + sizeBytes, offset, path);
  const bytes = await archive.bytes(dataOffset, sizeBytes);
  const text = (): ByteString => readText(bytes, { start: 0, end: sizeBytes });
  const together = before === noExtension ? { ...before, offset } : before;
  switch (header.typeflag) {
    case 'L':
      return { ...together, longPath: text() };
    case 'K':
      return { ...together, longLinkTarget: text() };
    case 'g':
      readPaxRecords(bytes, header);
      return before;
    default:
      return { ...together, pax: readPaxRecords(bytes, header) };
  }
}

function readPaxRecords(bytes: Buffer, { offset, path }: RawHeader): PaxRecords {
  try {
    return parsePaxRecords(bytes);
  } catch (thrown) {
    if (!(thrown instanceof PaxSyntaxError)) throw thrown;
    const problem = `its pax header is malformed: ${thrown.message}`;
    throw new TarFormatError('ERR_OCI_TAR_PAX', offset, path, problem);
  }
}

/** An entry with its dialect's spellings resolved, and where its data ends in the archive. */
async function resolveEntry(
  archive: ArchiveReader,
  block: Buffer,
  header: RawHeader,
  extension: Extension,
): Promise<{ readonly entry: TarEntry; readonly endOffset: number }> {
  const { pax } = extension;
  const path = extension.longPath ?? pax.get('GNU.sparse.name') ?? pax.get('path') ?? header.path;
  const fail = (code: TarErrorCode, problem: string): never => {
    throw new TarFormatError(code, header.offset, path, problem);
  };
  const type = typeOf(header, path) ?? fail('ERR_OCI_TAR_TYPE', unsupported(header.typeflag));
  const isLink = type === 'hardlink' || type === 'symlink';
  const linkTarget = extension.longLinkTarget ?? pax.get('linkpath') ?? header.linkTarget;
  const isDevice = type === 'character-device' || type === 'block-device';
  const device = (range: FieldRange): number =>
    isDevice && header.dialect !== 'v7'
      ? (inRange(readNumber(block, range), deviceNumberMax) ??
        fail('ERR_OCI_TAR_HEADER', 'its device number is malformed'))
      : 0;
  const owner = (keyword: string, value: number): number =>
    inRange(paxNumber(pax, keyword, value), ownerIdMax) ??
    fail('ERR_OCI_TAR_HEADER', `its ${keyword} does not lie in 0..${ownerIdMax}`);
  const attributes = {
    path,
    type,
    mode:
      header.mode >= 0 ? header.mode % 0o10000 : fail('ERR_OCI_TAR_HEADER', 'its mode is negative'),
    uid: owner('uid', header.uid),
    gid: owner('gid', header.gid),
    modified: modifiedOf(header, pax) ?? fail('ERR_OCI_TAR_HEADER', 'its "mtime" is no time'),
    linkTarget: isLink ? linkTarget : ('' as ByteString),
    deviceMajor: device(posix.devmajor),
    deviceMinor: device(posix.devminor),
    xattrs: xattrsOf(pax),
  };
  const content =
    type === 'file'
      ? await readContent(archive, block, header, { pax, path })
      : { sizeBytes: 0, segments: noSegments, endOffset: header.dataOffset };
  const { sizeBytes, segments, endOffset } = content;
  return { entry: { ...attributes, sizeBytes, segments }, endOffset };
}

function typeOf({ typeflag }: RawHeader, path: string): TarEntryType | undefined {
  switch (typeflag) {
    case '\0':
      // v7 has no type for directories.
      return path.endsWith('/') ? 'directory' : 'file';
    case '0':
    case '7':
    case 'S':
      return 'file';
    case '1':
      return 'hardlink';
    case '2':
      return 'symlink';
    case '3':
      return 'character-device';
    case '4':
      return 'block-device';
    case '5':
      return 'directory';
    case '6':
      return 'fifo';
    default:
      return undefined;
  }
}

function unsupported(typeflag: string): string {
  return `its type ${JSON.stringify(typeflag)} is none that a container image has`;
}

function inRange(value: number | undefined, maximum: number): number | undefined {
  return value !== undefined && value >= 0 && value <= maximum ? value : undefined;
}

/** The record's number if there is one, else `otherwise`; undefined if the record is no number. */
function paxNumber(pax: PaxRecords, keyword: string, otherwise: number): number | undefined {
  const text = pax.get(keyword);
  return text === undefined ? otherwise : parseDecimal(text);
}

function modifiedOf(header: RawHeader, pax: PaxRecords): Timestamp | undefined {
  const text = pax.get('mtime');
  return text === undefined ? { seconds: header.modifiedSeconds, nanoseconds: 0 } : parseTime(text);
}

interface Content {
  /** Of the unpacked file. */
  readonly sizeBytes: number;
  readonly segments: readonly DataSegment[];
  readonly endOffset: number;
}

const noSegments: readonly DataSegment[] = [];

async function readContent(
  archive: ArchiveReader,
  block: Buffer,
  header: RawHeader,
  entry: { readonly pax: PaxRecords; readonly path: ByteString },
): Promise<Content> {
  const fail = (code: TarErrorCode, problem: string): never => {
    throw new TarFormatError(code, header.offset, entry.path, problem);
  };
  const checkSize = (sizeBytes: number | undefined): number => {
    if (sizeBytes === undefined || sizeBytes < 0) {
      return fail('ERR_OCI_TAR_HEADER', 'its size is malformed or negative');
    }
    if (sizeBytes > fileSizeMax)
      fail('ERR_OCI_TAR_SIZE', `it has ${sizeBytes} bytes, more than 16 TiB`);
    return sizeBytes;
  };
  const storedBytes = checkSize(paxNumber(entry.pax, 'size', header.sizeBytes));
  try {
    const sparse = await readSparseMap(archive, block, header, entry);
    if (sparse === undefined) {
      const { dataOffset } = header;
      const endOffset = dataOffset + storedBytes;
      archive.checkInside(endOffset, header.offset, entry.path);
      const whole = { fileOffset: 0, tarOffset: dataOffset, lengthBytes: storedBytes };
      return {
        sizeBytes: storedBytes,
        segments: storedBytes === 0 ? noSegments : [whole],
        endOffset,
      };
    }
    const sizeBytes = checkSize(sparse.sizeBytes);
    // An old GNU map stands before the data, that of format 1.0 is a part of it.
    const dataEnd = (sparse.isMapInData ? header.dataOffset : sparse.dataOffset) + storedBytes;
    archive.checkInside(dataEnd, header.offset, entry.path);
    const where = { sizeBytes, dataOffset: sparse.dataOffset, dataEnd };
    return { sizeBytes, segments: segmentsOf(sparse.runs, where), endOffset: dataEnd };
  } catch (thrown) {
    if (!(thrown instanceof SparseMapError)) throw thrown;
    return fail('ERR_OCI_TAR_SPARSE', `its sparse map is unusable: ${thrown.message}`);
  }
}

interface SparseFile {
  readonly sizeBytes: number | undefined;
  readonly runs: readonly SparseMapRun[];
  readonly dataOffset: number;
  readonly isMapInData: boolean;
}

async function readSparseMap(
  archive: ArchiveReader,
  block: Buffer,
  header: RawHeader,
  { pax, path }: { readonly pax: PaxRecords; readonly path: ByteString },
): Promise<SparseFile | undefined> {
  const readBlock = (offset: number): Promise<Buffer> => archive.block(offset, path);
  if (header.typeflag === 'S') {
    if (header.dialect !== 'gnu') throw new SparseMapError('its header is not one of GNU tar');
    const sizeBytes = readNumber(block, gnu.realsize);
    const { runs, endOffset } = await readOldGnuMap(block, header.dataOffset, readBlock);
    return { sizeBytes, runs, dataOffset: endOffset, isMapInData: false };
  }
  const format = paxSparseFormat(pax);
  if (format === undefined) return undefined;
  if (format === '0.x') {
    const runs = parsePaxMap(pax.get('GNU.sparse.map') ?? '');
    const sizeBytes = paxNumber(pax, 'GNU.sparse.size', header.sizeBytes);
    return { sizeBytes, runs, dataOffset: header.dataOffset, isMapInData: false };
  }
  const sizeBytes = paxNumber(pax, 'GNU.sparse.realsize', header.sizeBytes);
  const { runs, endOffset } = await readDataMap(header.dataOffset, readBlock);
  return { sizeBytes, runs, dataOffset: endOffset, isMapInData: true };
}
