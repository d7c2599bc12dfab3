/**
 * Writes tar archives for tests, in every dialect, byte by byte: things that no real tool writes can be
 * made too (`tarHeader`, `paxBlock`). It shares nothing with the scanner, so that each checks the other.
 */

export type TarFormat = 'v7' | 'ustar' | 'gnu' | 'pax';

export interface TarBuilderEntry {
  /** UTF-8 where it is text. */
  readonly path: string | Uint8Array;
  /** Default: `directory` where the path ends in `/`, else `file`. */
  readonly type?:
    | 'file'
    | 'hardlink'
    | 'symlink'
    | 'directory'
    | 'character-device'
    | 'block-device'
    | 'fifo';
  /** Default 0o644, of directories 0o755. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Seconds, or seconds and nanoseconds. Default 1,700,000,000. */
  readonly modified?: number | { readonly seconds: number; readonly nanoseconds: number };
  readonly linkTarget?: string | Uint8Array;
  readonly content?: string | Uint8Array;
  readonly deviceMajor?: number;
  readonly deviceMinor?: number;
  /** Pax only. */
  readonly xattrs?: Readonly<Record<string, string | Uint8Array>>;
}

export interface TarOptions {
  /** Default `pax`. A value that the format cannot hold is an error. */
  readonly format?: TarFormat;
  /** Default true: two blocks of zeros. */
  readonly end?: boolean;
}

/** A whole archive. */
export function buildTar(entries: readonly TarBuilderEntry[], options: TarOptions = {}): Buffer {
  const parts = entries.map((entry) => tarEntry(entry, options.format));
  if (options.end ?? true) parts.push(Buffer.alloc(1024));
  return Buffer.concat(parts);
}

/** One entry with its extended headers and its padded data. */
export function tarEntry(entry: TarBuilderEntry, format: TarFormat = 'pax'): Buffer {
  const path = bytesOf(entry.path);
  const type = entry.type ?? (path.at(-1) === slash ? 'directory' : 'file');
  const content = bytesOf(entry.content ?? '');
  const header = {
    path,
    typeflag: typeflags[type],
    linkTarget: bytesOf(entry.linkTarget ?? ''),
    mode: entry.mode ?? (type === 'directory' ? 0o755 : 0o644),
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    sizeBytes: content.byteLength,
    ...timeOf(entry.modified ?? 1_700_000_000),
    deviceMajor: entry.deviceMajor ?? 0,
    deviceMinor: entry.deviceMinor ?? 0,
    xattrs: entry.xattrs ?? {},
  };
  return Buffer.concat([dialects[format](header), padded(content)]);
}

/** The fields of a raw header: numbers are written in octal, buffers as they are. */
export interface HeaderFields {
  readonly name?: string | Uint8Array;
  readonly mode?: number | Uint8Array;
  readonly uid?: number | Uint8Array;
  readonly gid?: number | Uint8Array;
  readonly size?: number | Uint8Array;
  readonly mtime?: number | Uint8Array;
  /** Default: the right one. */
  readonly chksum?: Uint8Array;
  readonly typeflag?: string;
  readonly linkname?: string | Uint8Array;
  /** Magic and version. Default `ustar\0` and `00`. */
  readonly magic?: string;
  readonly devmajor?: number | Uint8Array;
  readonly devminor?: number | Uint8Array;
  /** From byte 345 to the end, whatever the dialect has there. */
  readonly rest?: string | Uint8Array;
}

/** One header block with its checksum. */
export function tarHeader(fields: HeaderFields): Buffer {
  const block = Buffer.alloc(512);
  const put = (offset: number, size: number, value: number | string | Uint8Array): void => {
    const bytes =
      typeof value === 'number'
        ? Buffer.from(`${value.toString(8).padStart(size - 1, '0')}\0`, 'latin1')
        : bytesOf(value);
    if (bytes.byteLength > size) throw new RangeError(`"${String(value)}" does not fit ${size}`);
    block.set(bytes, offset);
  };
  put(0, 100, fields.name ?? '');
  put(100, 8, fields.mode ?? 0o644);
  put(108, 8, fields.uid ?? 0);
  put(116, 8, fields.gid ?? 0);
  put(124, 12, fields.size ?? 0);
  put(136, 12, fields.mtime ?? 0);
  put(156, 1, fields.typeflag ?? '0');
  put(157, 100, fields.linkname ?? '');
  put(257, 8, fields.magic ?? 'ustar\x0000');
  if (fields.magic !== '') {
    put(329, 8, fields.devmajor ?? 0);
    put(337, 8, fields.devminor ?? 0);
  }
  put(345, 167, fields.rest ?? '');
  put(148, 8, '        ');
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(148, 8, fields.chksum ?? Buffer.from(`${sum.toString(8).padStart(6, '0')}\0 `, 'latin1'));
  return block;
}

/** An extended header (`x`, or `g` for the whole archive) with its data. */
export function paxBlock(
  records: Readonly<Record<string, string | Uint8Array>>,
  typeflag = 'x',
): Buffer {
  const data = Buffer.concat(Object.entries(records).map(([key, value]) => paxRecord(key, value)));
  const header = tarHeader({ name: 'PaxHeaders/0', typeflag, size: data.byteLength });
  return Buffer.concat([header, padded(data)]);
}

/** `LENGTH KEYWORD=VALUE\n`, whose length counts its own digits. */
export function paxRecord(keyword: string, value: string | Uint8Array): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${keyword}=`), bytesOf(value), Buffer.from('\n')]);
  let length = rest.byteLength;
  while (String(length).length + rest.byteLength !== length) {
    length = String(length).length + rest.byteLength;
  }
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** GNU's `L` (path) and `K` (link target). */
export function gnuLong(typeflag: 'L' | 'K', text: string | Uint8Array): Buffer {
  const data = Buffer.concat([bytesOf(text), Buffer.alloc(1)]);
  const header = { name: '././@LongLink', typeflag, size: data.byteLength, magic: gnuMagic };
  return Buffer.concat([tarHeader({ ...header, mode: 0 }), padded(data)]);
}

/** GNU's base-256: two's complement, big-endian, the first bit set. */
export function base256(value: number | bigint, sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes);
  let rest = BigInt(value);
  for (let at = sizeBytes - 1; at >= 0; at -= 1) {
    bytes[at] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  bytes[0] = (bytes[0] ?? 0) | 0x80;
  return bytes;
}

/** Filled up with zeros to a multiple of 512 bytes. */
export function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.byteLength % 512)) % 512)]);
}

export const gnuMagic = 'ustar  \0';
const slash = 0x2f;

const typeflags = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  'character-device': '3',
  'block-device': '4',
  directory: '5',
  fifo: '6',
} as const;

function bytesOf(value: string | Uint8Array): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
}

function timeOf(modified: NonNullable<TarBuilderEntry['modified']>): {
  seconds: number;
  nanoseconds: number;
} {
  return typeof modified === 'number' ? { seconds: modified, nanoseconds: 0 } : modified;
}

interface PlainHeader {
  readonly path: Uint8Array;
  readonly typeflag: string;
  readonly linkTarget: Uint8Array;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  readonly xattrs: Readonly<Record<string, string | Uint8Array>>;
}

const dialects: Readonly<Record<TarFormat, (header: PlainHeader) => Buffer>> = {
  v7: (header) => {
    onlyPax(header);
    const typeflag = header.typeflag === '0' || header.typeflag === '5' ? '\0' : header.typeflag;
    return tarHeader({ ...fieldsOf(header), typeflag, magic: '' });
  },
  ustar: (header) => {
    onlyPax(header);
    return tarHeader({ ...fieldsOf(header), ...splitPath(header.path) });
  },
  gnu: (header) => {
    onlyPax(header);
    const parts: Buffer[] = [];
    if (header.linkTarget.byteLength > 100) parts.push(gnuLong('K', header.linkTarget));
    if (header.path.byteLength > 100) parts.push(gnuLong('L', header.path));
    parts.push(
      tarHeader({
        ...fieldsOf(header),
        magic: gnuMagic,
        name: header.path.subarray(0, 100),
        linkname: header.linkTarget.subarray(0, 100),
        uid: octalOrBase256(header.uid, 8),
        gid: octalOrBase256(header.gid, 8),
        size: octalOrBase256(header.sizeBytes, 12),
        mtime: octalOrBase256(header.seconds, 12),
      }),
    );
    return Buffer.concat(parts);
  },
  pax: (header) => {
    const records = recordsOf(header);
    const plain = tarHeader({
      ...fieldsOf(header),
      name: header.path.subarray(0, 100),
      linkname: header.linkTarget.subarray(0, 100),
      uid: 'uid' in records ? 0 : header.uid,
      gid: 'gid' in records ? 0 : header.gid,
      mtime: 'mtime' in records ? 0 : header.seconds,
    });
    return Object.keys(records).length === 0 ? plain : Buffer.concat([paxBlock(records), plain]);
  },
};

function fieldsOf(header: PlainHeader): HeaderFields {
  return {
    name: header.path,
    typeflag: header.typeflag,
    linkname: header.linkTarget,
    mode: header.mode,
    uid: header.uid,
    gid: header.gid,
    size: header.sizeBytes,
    mtime: header.seconds,
    devmajor: header.deviceMajor,
    devminor: header.deviceMinor,
  };
}

/** Everything that a ustar header cannot say. */
function recordsOf(header: PlainHeader): Record<string, string | Uint8Array> {
  const { path, linkTarget, uid, gid, seconds, nanoseconds, xattrs } = header;
  const records: Record<string, string | Uint8Array> = {};
  const isPlain = (text: Uint8Array): boolean =>
    text.byteLength <= 100 && text.every((byte) => byte < 0x80);
  if (!isPlain(path)) records['path'] = path;
  if (!isPlain(linkTarget)) records['linkpath'] = linkTarget;
  if (uid >= 8 ** 7) records['uid'] = String(uid);
  if (gid >= 8 ** 7) records['gid'] = String(gid);
  if (seconds < 0 || seconds >= 8 ** 11 || nanoseconds > 0) {
    records['mtime'] = paxTime(seconds, nanoseconds);
  }
  for (const [name, value] of Object.entries(xattrs)) records[`SCHILY.xattr.${name}`] = value;
  return records;
}

function paxTime(seconds: number, nanoseconds: number): string {
  const total = BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
  const magnitude = total < 0n ? -total : total;
  const fraction = String(magnitude % 1_000_000_000n).padStart(9, '0');
  return `${total < 0n ? '-' : ''}${magnitude / 1_000_000_000n}.${fraction}`;
}

function onlyPax({ xattrs, nanoseconds }: PlainHeader): void {
  if (Object.keys(xattrs).length > 0 || nanoseconds > 0) {
    throw new RangeError('Only pax has extended attributes and nanoseconds');
  }
}

function octalOrBase256(value: number, sizeBytes: number): number | Buffer {
  return value >= 0 && value < 8 ** (sizeBytes - 1) ? value : base256(value, sizeBytes);
}

/** ustar's name of 100 bytes and prefix of 155, the slash between them left out. */
function splitPath(path: Uint8Array): { name: Uint8Array; rest: Uint8Array } {
  if (path.byteLength <= 100) return { name: path, rest: Buffer.alloc(0) };
  const cut = path.indexOf(slash, path.byteLength - 101);
  if (cut < 0 || cut > 155 || cut === path.byteLength - 1) {
    throw new RangeError('The path does not fit into a ustar header');
  }
  return { name: path.subarray(cut + 1), rest: path.subarray(0, cut) };
}
