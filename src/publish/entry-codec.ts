/** A tar entry in a layer record: bytes and back, nothing lost. Rows: `docs/formats/layer-record.md`. Pure. */

import type { ByteString } from '../base/index.ts';
import type { DataSegment, TarEntry, TarEntryType } from '../oci/index.ts';
import type { CompactReader, CompactWriter } from './compact-bytes.ts';
import { LayerRecordError } from './layer-record-error.ts';

/** A type's number is its place. */
const types: readonly TarEntryType[] = [
  'file',
  'hardlink',
  'symlink',
  'directory',
  'character-device',
  'block-device',
  'fifo',
];

const nothing = '' as ByteString;
const noSegments: readonly DataSegment[] = [];
const noXattrs: ReadonlyMap<ByteString, Uint8Array> = new Map();

export function writeEntry(to: CompactWriter, entry: TarEntry): void {
  const { type } = entry;
  to.number(types.indexOf(type));
  to.string(entry.path);
  to.number(entry.mode);
  to.number(entry.uid);
  to.number(entry.gid);
  to.number(entry.modified.seconds < 0 ? 1 : 0);
  to.number(Math.abs(entry.modified.seconds));
  to.number(entry.modified.nanoseconds);
  if (isLink(type)) to.string(entry.linkTarget);
  if (type === 'file') writeContent(to, entry);
  if (isDevice(type)) {
    to.number(entry.deviceMajor);
    to.number(entry.deviceMinor);
  }
  to.number(entry.xattrs.size);
  for (const [name, value] of entry.xattrs) {
    to.string(name);
    to.bytes(value);
  }
}

function isLink(type: TarEntryType): boolean {
  return type === 'hardlink' || type === 'symlink';
}

function isDevice(type: TarEntryType): boolean {
  return type === 'character-device' || type === 'block-device';
}

function writeContent(to: CompactWriter, { sizeBytes, segments }: TarEntry): void {
  to.number(sizeBytes);
  to.number(segments.length);
  for (const { fileOffset, tarOffset, lengthBytes } of segments) {
    to.number(fileOffset);
    to.number(tarOffset);
    to.number(lengthBytes);
  }
}

/** Throws `ERR_PUBLISH_LAYER_RECORD`. */
export function readEntry(from: CompactReader): TarEntry {
  const type = types[from.number()];
  if (type === undefined) throw new LayerRecordError('an entry has an unknown type');
  const path = from.string();
  const mode = from.number();
  const uid = from.number();
  const gid = from.number();
  const sign = from.number() === 0 ? 1 : -1;
  const modified = { seconds: sign * from.number(), nanoseconds: from.number() };
  const linkTarget = isLink(type) ? from.string() : nothing;
  const sizeBytes = type === 'file' ? from.number() : 0;
  const segments = type === 'file' ? readSegments(from) : noSegments;
  const deviceMajor = isDevice(type) ? from.number() : 0;
  const deviceMinor = isDevice(type) ? from.number() : 0;
  const xattrs = readXattrs(from);
  return {
    path,
    type,
    mode,
    uid,
    gid,
    modified,
    linkTarget,
    deviceMajor,
    deviceMinor,
    xattrs,
    sizeBytes,
    segments,
  };
}

function readSegments(from: CompactReader): readonly DataSegment[] {
  const count = from.count();
  if (count === 0) return noSegments;
  if (count === 1) return [readSegment(from)]; // an array that grew would have room for sixteen more
  return Array.from({ length: count }, () => readSegment(from));
}

function readSegment(from: CompactReader): DataSegment {
  return {
    fileOffset: from.number(),
    tarOffset: from.number(),
    lengthBytes: from.number(),
  };
}

function readXattrs(from: CompactReader): TarEntry['xattrs'] {
  let left = from.count();
  if (left === 0) return noXattrs;
  const xattrs = new Map<ByteString, Uint8Array>();
  for (; left > 0; left -= 1) xattrs.set(from.string(), new Uint8Array(from.bytes()));
  return xattrs;
}
