/**
 * What is remembered of a layer once it was published, so that the next image that has it needs neither download nor
 * unpack it: its tar entries, the chunks that hold nothing but its file data, and the little of its data that lies
 * in chunks with something else. Bytes: `docs/formats/layer-record.md`.
 *
 * A record is a cache. Everything in it can be had from the layer, and a chunk in it is known by its recipe (see
 * `chunk-draft.ts`), so a record can be of no use to an image but not make a wrong one.
 */

import { promisify } from 'node:util';
import { zstdCompress, zstdDecompress } from 'node:zlib';

import { toHex } from '../base/index.ts';
import { isChunkCodec, type ManifestChunk } from '../chunk/index.ts';
import type { TarEntry } from '../oci/index.ts';
import { CompactReader, CompactWriter } from './compact-bytes.ts';
import { readEntry, writeEntry } from './entry-codec.ts';
import { KeptData, KeptDataWriter } from './kept-data.ts';
import { LayerRecordError } from './layer-record-error.ts';

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

/** Entries are compressed in frames of about this much, so that neither side ever holds all of them as bytes. */
const frameBytes = 256 * 1024;
/** One entry may have attributes of some MiB, and a sparse map longer still; more than this is no record of ours. */
const frameBytesMax = 256 * 2 ** 20;
/** A chunk as it was stored, wherever on a disk it will be. */
export interface StoredChunk extends Omit<ManifestChunk, 'index'> {
  /** 32 bytes; a secret. */
  readonly key: Uint8Array;
}

/** What became of a chunk of file data: one of nothing but zeros is not stored. */
export type ChunkFate = StoredChunk | 'zeros';

/** What a record says of the layer's data. */
export interface RecordedData {
  /** Chunks by their recipes. */
  readonly chunks: ReadonlyMap<string, ChunkFate>;
  /** What lies in chunks with something else. */
  readonly kept: KeptData;
}

/** A record opened. */
export interface LayerRecord {
  readonly data: RecordedData;
  /** As `scanTar` gave them. Throws `ERR_PUBLISH_LAYER_RECORD`. */
  readonly entries: () => AsyncIterable<TarEntry>;
}

/** Gathers a record while its layer is published. */
export class LayerRecorder {
  readonly #frames: Uint8Array[] = [];
  readonly #chunks = new Map<string, ChunkFate>();
  /** What lies in chunks with something else. */
  readonly kept = new KeptDataWriter();
  #isWhole = false;

  /** Passes `entries` on and remembers them; only if they are read to their end is there a record. */
  async *entries(entries: AsyncIterable<TarEntry>): AsyncGenerator<TarEntry> {
    const frame = new CompactWriter();
    for await (const entry of entries) {
      writeEntry(frame, entry);
      if (frame.lengthBytes >= frameBytes) this.#frames.push(await toFrame(frame));
      yield entry;
    }
    if (frame.lengthBytes > 0) this.#frames.push(await toFrame(frame));
    this.#isWhole = true;
  }

  addChunk(recipe: string, chunk: ChunkFate): void {
    this.#chunks.set(recipe, chunk);
  }

  /** The record's bytes, one part after the other; undefined if the layer was not read to its end. Call once. */
  async finish(): Promise<readonly Uint8Array[] | undefined> {
    if (!this.#isWhole) return undefined;
    const head = new CompactWriter();
    head.number(this.#chunks.size);
    for (const [recipe, chunk] of this.#chunks) {
      head.raw(Buffer.from(recipe, 'hex'));
      writeChunk(head, chunk);
    }
    const kept = new CompactWriter();
    this.kept.writeTo(kept);
    return [head.take(), await toFrame(kept), ...this.#frames];
  }
}

function writeChunk(to: CompactWriter, chunk: ChunkFate): void {
  to.number(chunk === 'zeros' ? 0 : chunk.storedLengthBytes);
  if (chunk === 'zeros') return;
  to.bytes(Buffer.from(chunk.codec, 'latin1'));
  to.raw(chunk.ciphertextDigest);
  to.raw(chunk.key);
}

async function toFrame(writer: CompactWriter): Promise<Uint8Array> {
  const compressed = await compress(writer.take());
  writer.bytes(compressed);
  return writer.take();
}

const digestBytes = 32;

/** Opens a record's bytes, which must not change any more. Throws `ERR_PUBLISH_LAYER_RECORD`. */
export async function decodeLayerRecord(bytes: Uint8Array): Promise<LayerRecord> {
  const from = new CompactReader(bytes);
  const chunks = new Map<string, ChunkFate>();
  for (let left = from.count(); left > 0; left -= 1) {
    chunks.set(toHex(from.raw(digestBytes)), readChunk(from));
  }
  const kept = KeptData.readFrom(new CompactReader(await openFrame(from.bytes())));
  const frames: Uint8Array[] = [];
  while (!from.isAtEnd) frames.push(from.bytes());
  return { data: { chunks, kept }, entries: () => entriesOf(frames) };
}

function readChunk(from: CompactReader): ChunkFate {
  const storedLengthBytes = from.number();
  if (storedLengthBytes === 0) return 'zeros';
  return {
    storedLengthBytes,
    codec: readCodec(from),
    ciphertextDigest: new Uint8Array(from.raw(digestBytes)),
    key: new Uint8Array(from.raw(digestBytes)),
  };
}

function readCodec(from: CompactReader): ManifestChunk['codec'] {
  const codec = from.string();
  if (isChunkCodec(codec)) return codec;
  throw new LayerRecordError('a chunk has an unknown codec');
}

async function* entriesOf(frames: readonly Uint8Array[]): AsyncGenerator<TarEntry> {
  for (const frame of frames) {
    const from = new CompactReader(await openFrame(frame));
    while (!from.isAtEnd) yield readEntry(from);
  }
}

async function openFrame(frame: Uint8Array): Promise<Uint8Array> {
  try {
    return await decompress(frame, { maxOutputLength: frameBytesMax });
  } catch (thrown) {
    throw new LayerRecordError('its entries cannot be decompressed', thrown);
  }
}
