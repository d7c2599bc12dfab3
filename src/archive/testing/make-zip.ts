/** Zip files as no program would write them. Source: APPNOTE.TXT 6.3.10, 4.3.7, 4.3.12 and 4.3.16. */

import { crc32, deflateRawSync } from 'node:zlib';

/** One entry; what is left out is as it should be. */
export interface ZipInput {
  readonly name: string | Uint8Array;
  readonly content?: string | Uint8Array;
  /** As on Unix, with the type of the file. Default: a file that all may read. */
  readonly mode?: number;
  readonly isStored?: boolean;
  readonly method?: number;
  readonly flags?: number;
  readonly crc?: number;
  /** What the directory says of the unpacked size. */
  readonly saidBytes?: number;
  /** In place of compressing `content`. */
  readonly data?: Uint8Array;
  /** Its data are those of an entry before, by index. */
  readonly sharesDataOf?: number;
}

export const fileMode = 0o100644;
export const linkMode = 0o120777;
export const directoryMode = 0o040755;

function local(fields: Fields): Buffer {
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  writeCommon(header, 4, fields);
  return Buffer.concat([header, fields.name, fields.data]);
}

function central(fields: Fields, offset: number): Buffer {
  const header = Buffer.alloc(46);
  header.writeUInt32LE(0x02014b50, 0);
  header.writeUInt16LE((3 << 8) | 20, 4); // made on Unix
  writeCommon(header, 6, fields);
  header.writeUInt32LE((fields.mode << 16) >>> 0, 38);
  header.writeUInt32LE(offset, 42);
  return Buffer.concat([header, fields.name]);
}

interface Fields {
  readonly name: Uint8Array;
  readonly data: Uint8Array;
  readonly mode: number;
  readonly flags: number;
  readonly method: number;
  readonly crc: number;
  readonly sizeBytes: number;
}

/** The run of fields that both headers have. */
function writeCommon(header: Buffer, at: number, fields: Fields): void {
  header.writeUInt16LE(20, at);
  header.writeUInt16LE(fields.flags, at + 2);
  header.writeUInt16LE(fields.method, at + 4);
  header.writeUInt16LE(0x6000, at + 6); // 12:00:00
  header.writeUInt16LE(0x5a21, at + 8); // 2025-01-01
  header.writeUInt32LE(fields.crc, at + 10);
  header.writeUInt32LE(fields.data.byteLength, at + 14);
  header.writeUInt32LE(fields.sizeBytes, at + 18);
  header.writeUInt16LE(fields.name.byteLength, at + 22);
}

function fieldsOf(input: ZipInput): Fields {
  const content = Buffer.from(input.content ?? '');
  const isStored = input.isStored === true;
  return {
    name: Buffer.from(input.name),
    data: input.data ?? (isStored ? content : deflateRawSync(content)),
    mode: input.mode ?? fileMode,
    flags: input.flags ?? 0x800,
    method: input.method ?? (isStored ? 0 : 8),
    crc: input.crc ?? crc32(content),
    sizeBytes: input.saidBytes ?? content.byteLength,
  };
}

/** `entriesSaid`: what the end record says of their number. */
export function makeZip(
  inputs: readonly ZipInput[],
  options: { readonly entriesSaid?: number } = {},
): Buffer {
  const all = inputs.map(fieldsOf);
  const offsets: number[] = [];
  const parts: Buffer[] = [];
  let at = 0;
  for (const [index, fields] of all.entries()) {
    const sharesDataOf = inputs[index]?.sharesDataOf;
    if (sharesDataOf !== undefined) {
      offsets.push(offsets[sharesDataOf] ?? 0);
      continue;
    }
    const part = local(fields);
    offsets.push(at);
    parts.push(part);
    at += part.byteLength;
  }
  const directory = Buffer.concat(all.map((fields, index) => central(fields, offsets[index] ?? 0)));
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(options.entriesSaid ?? all.length, 8);
  end.writeUInt16LE(options.entriesSaid ?? all.length, 10);
  end.writeUInt32LE(directory.byteLength, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, directory, end]);
}
