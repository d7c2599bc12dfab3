/**
 * Writes a layer as a tar, the same bytes for the same entries on any machine at any time: entries in byte order, all of
 * root's, all of 1970 but for those whose own time matters. Source: POSIX.1-2017, pax, "ustar Interchange Format".
 */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';

import { compareStrings } from '../base/index.ts';
import type { RuntimeEntry } from './runtime-tree.ts';

const blockBytes = 512;
const typeFlags = { directory: '5', text: '0', copy: '0', link: '2' } as const;
const modes = { directory: 0o755, text: 0o644, copy: 0o644, link: 0o777 } as const;

/** A blob as it was written. */
export interface WrittenBlob {
  /** Hex. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** Writes to a new file at `path`. */
export async function writeTar(
  entries: readonly RuntimeEntry[],
  path: string,
): Promise<WrittenBlob> {
  await using file = await open(path, 'wx');
  const writer = new HashedWriter(file);
  for (const entry of withParents(entries)) await writeEntry(writer, entry);
  await writer.write(Buffer.alloc(2 * blockBytes));
  return writer.result();
}

class HashedWriter {
  readonly #file: FileHandle;
  readonly #hash = createHash('sha256');
  #sizeBytes = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes);
    this.#sizeBytes += bytes.byteLength;
    await this.#file.writeFile(bytes);
  }

  async padBlock(): Promise<void> {
    const rest = this.#sizeBytes % blockBytes;
    if (rest > 0) await this.write(Buffer.alloc(blockBytes - rest));
  }

  result(): WrittenBlob {
    return { sha256: this.#hash.digest('hex'), sizeBytes: this.#sizeBytes };
  }
}

/** Each path once, the first counts; with the directories above, in byte order, which puts these first. */
function withParents(entries: readonly RuntimeEntry[]): RuntimeEntry[] {
  const byPath = new Map<string, RuntimeEntry>();
  for (const entry of entries) if (!byPath.has(entry.path)) byPath.set(entry.path, entry);
  for (const { path } of entries) {
    const parts = path.split('/');
    for (let count = 1; count < parts.length; count += 1) {
      const above = parts.slice(0, count).join('/');
      if (!byPath.has(above)) byPath.set(above, { path: above, kind: 'directory' });
    }
  }
  return [...byPath.values()].toSorted((a, b) => compareStrings(a.path, b.path));
}

async function writeEntry(writer: HashedWriter, entry: RuntimeEntry): Promise<void> {
  if (entry.kind === 'copy') {
    const { size, mode, mtimeMs } = await stat(entry.source);
    const executable = (mode & 0o111) === 0 ? 0 : 0o111;
    await writer.write(
      header({ mode: modes.copy | executable, ...entry }, size, entry.keepsTime ? mtimeMs : 0),
    );
    for await (const piece of contentOf(entry.source, size)) await writer.write(piece);
  } else {
    const text = entry.kind === 'text' ? Buffer.from(entry.text) : Buffer.alloc(0);
    await writer.write(header(entry, text.byteLength));
    await writer.write(text);
  }
  await writer.padBlock();
}

/** No more than the header says, should it grow meanwhile. */
async function* contentOf(path: string, sizeBytes: number): AsyncGenerator<Uint8Array> {
  if (sizeBytes === 0) return;
  const options = { highWaterMark: 2 ** 20, end: sizeBytes - 1 };
  for await (const piece of createReadStream(path, options)) yield piece as Uint8Array;
}

function header(entry: RuntimeEntry, sizeBytes: number, modifiedMs = 0): Buffer {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, length: number): void => {
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
  };
  const [prefix, name] = splitName(entry.kind === 'directory' ? `${entry.path}/` : entry.path);
  block.write(name, 0);
  const mode = entry.kind === 'link' ? undefined : entry.mode;
  octal(mode ?? modes[entry.kind], 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(sizeBytes, 124, 12);
  octal(Math.floor(modifiedMs / 1000), 136, 12);
  block.write(typeFlags[entry.kind], 156);
  if (entry.kind === 'link') block.write(entry.target, 157);
  block.write('ustar\x0000', 257, 'latin1');
  octal(0, 329, 8);
  octal(0, 337, 8);
  block.write(prefix, 345);
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** A name of up to 100 bytes, and what is above it of up to 155. */
function splitName(path: string): readonly [prefix: string, name: string] {
  if (Buffer.byteLength(path) <= 100) return ['', path];
  for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    const fits = Buffer.byteLength(prefix) <= 155 && Buffer.byteLength(name) <= 100;
    if (fits && name !== '') return [prefix, name];
  }
  throw new RangeError(`The path "${path}" is too long for a tar without extensions`);
}
