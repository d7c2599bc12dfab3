/**
 * Tables for the fixed-size records of binary formats (ext4, FUSE, the manifest): one row a field, in the
 * order, with the names and at the offsets of the format's own specification. All are little-endian.
 *
 * `layout()` checks at load that the rows touch, do not overlap and sum to the size. A row whose name starts
 * with `_` is padding: written as zeros, not read. Tables are for headers; hot loops index typed arrays by hand.
 */

import { InternalError } from './errors.ts';
import { viewOf } from './bytes.ts';

/** Sizes in bits, unsigned or signed; `bytes16` is 16 bytes as they are. */
export type FieldType = 'u8' | 'u16' | 'u32' | 'i32' | 'u64' | 'i64' | `bytes${number}`;
/** `offset` in bytes from the record's start, as the specification gives it. */
export type LayoutRow = readonly [offset: number, type: FieldType, name: string];

type FieldValue<Type extends FieldType> = Type extends 'u64' | 'i64'
  ? bigint
  : Type extends `bytes${number}`
    ? Uint8Array
    : number;

/** The record's fields by name, padding left out. */
export type LayoutFields<Rows extends readonly LayoutRow[]> = {
  [Row in Rows[number] as Row[2] extends `_${string}` ? never : Row[2]]: FieldValue<Row[1]>;
};

/** A record's table and its codec. */
export interface Layout<Rows extends readonly LayoutRow[]> {
  readonly name: string;
  readonly sizeBytes: number;
  readonly rows: Rows;
  /** A fresh record. Throws `ERR_INTERNAL` when a value does not fit its field. */
  encode(fields: LayoutFields<Rows>): Buffer;
  /** Writes the record into `target` at `offset`. Throws `RangeError` when it does not fit there. */
  encodeInto(target: Uint8Array, offset: number, fields: LayoutFields<Rows>): void;
  /** Reads the record at `offset`; `bytes` fields are copies. Throws `RangeError` if it is cut short. */
  decode(source: Uint8Array, offset?: number): LayoutFields<Rows>;
}

function fieldSizeBytes(type: FieldType): number {
  switch (type) {
    case 'u8':
      return 1;
    case 'u16':
      return 2;
    case 'u32':
    case 'i32':
      return 4;
    case 'u64':
    case 'i64':
      return 8;
    default:
      return Number(type.slice('bytes'.length));
  }
}

function checkRows(name: string, sizeBytes: number, rows: readonly LayoutRow[]): void {
  const seen = new Set<string>();
  let end = 0;
  for (const [offset, type, field] of rows) {
    if (seen.has(field) && !field.startsWith('_'))
      throw new InternalError(`${name}.${field} is there twice`);
    seen.add(field);
    if (!(fieldSizeBytes(type) > 0))
      throw new InternalError(`${name}.${field} has no size: ${type}`);
    if (offset !== end) {
      throw new InternalError(`${name}.${field} is at ${offset}, the row before ends at ${end}`);
    }
    end = offset + fieldSizeBytes(type);
  }
  if (end !== sizeBytes) throw new InternalError(`${name} ends at ${end}, not at ${sizeBytes}`);
}

/** What a number field takes. Node's writers check the range, but take NaN and undefined for 0 and cut fractions off. */
function integer(value: unknown): number {
  if (!Number.isInteger(value)) throw new RangeError('It is not an integer');
  return value as number;
}

/** Throws `RangeError` or `TypeError` when the value does not fit. */
function writeField(target: Buffer, at: number, type: FieldType, value: unknown): void {
  switch (type) {
    case 'u8':
      target.writeUInt8(integer(value), at);
      break;
    case 'u16':
      target.writeUInt16LE(integer(value), at);
      break;
    case 'u32':
      target.writeUInt32LE(integer(value), at);
      break;
    case 'i32':
      target.writeInt32LE(integer(value), at);
      break;
    case 'u64':
      target.writeBigUInt64LE(value as bigint, at);
      break;
    case 'i64':
      target.writeBigInt64LE(value as bigint, at);
      break;
    default: {
      const bytes = value as Uint8Array;
      if (bytes.byteLength !== fieldSizeBytes(type)) {
        throw new RangeError(`It is ${bytes.byteLength} bytes long`);
      }
      target.set(bytes, at);
    }
  }
}

function readField(source: Buffer, at: number, type: FieldType): number | bigint | Uint8Array {
  switch (type) {
    case 'u8':
      return source.readUInt8(at);
    case 'u16':
      return source.readUInt16LE(at);
    case 'u32':
      return source.readUInt32LE(at);
    case 'i32':
      return source.readInt32LE(at);
    case 'u64':
      return source.readBigUInt64LE(at);
    case 'i64':
      return source.readBigInt64LE(at);
    default: {
      const end = at + fieldSizeBytes(type);
      if (end > source.byteLength) throw new RangeError(`Record cut short at byte ${at}`);
      return Uint8Array.prototype.slice.call(source, at, end);
    }
  }
}

/** Declares a record. `sizeBytes` and each row's offset come from the specification and are checked. */
export function layout<const Rows extends readonly LayoutRow[]>(
  name: string,
  sizeBytes: number,
  rows: Rows,
): Layout<Rows> {
  checkRows(name, sizeBytes, rows);
  const encodeInto = (target: Uint8Array, offset: number, fields: LayoutFields<Rows>): void => {
    const view = viewOf(target);
    view.fill(0, offset, offset + sizeBytes);
    for (const [at, type, field] of rows) {
      if (field.startsWith('_')) continue;
      const value = (fields as Record<string, unknown>)[field];
      try {
        writeField(view, offset + at, type, value);
      } catch (thrown) {
        throw new InternalError(
          `Cannot write ${String(value)} into ${name}.${field} (${type})`,
          thrown,
        );
      }
    }
  };
  return {
    name,
    sizeBytes,
    rows,
    encodeInto,
    encode: (fields) => {
      const record = Buffer.alloc(sizeBytes);
      encodeInto(record, 0, fields);
      return record;
    },
    decode: (source, offset = 0) => {
      const view = viewOf(source);
      const fields: Record<string, unknown> = {};
      for (const [at, type, field] of rows) {
        if (!field.startsWith('_')) fields[field] = readField(view, offset + at, type);
      }
      return fields as LayoutFields<Rows>;
    },
  };
}
