/**
 * A layer as publishing needs it: its entries once, its data at any time. Of a layer that is remembered both come from its record, and
 * its blob is not opened unless data is asked for that the record has not kept.
 */

import { present, release } from '../base/index.ts';
import { scanTar, type LayerTar, type OciLayer, type TarEntry } from '../oci/index.ts';
import type { DataRead } from './chunk-draft.ts';
import {
  LayerRecorder,
  type ChunkFate,
  type LayerRecord,
  type RecordedData,
} from './layer-record.ts';

/** Data this near to other data is read along with it: a file's tar header and padding lie between. */
const gapMaxBytes = 16 * 1024;

export class LayerSource implements AsyncDisposable {
  readonly layer: OciLayer;
  readonly #openTar: () => Promise<LayerTar>;
  /** Of a record that may be used. */
  #recorded: RecordedData | undefined;
  /** The same record's entries, until they are needed no more. */
  #recordedEntries: LayerRecord['entries'] | undefined;
  #recorder = new LayerRecorder();
  #tar: Promise<LayerTar> | undefined;

  constructor(parts: {
    readonly layer: OciLayer;
    readonly openTar: () => Promise<LayerTar>;
    readonly record: LayerRecord | undefined;
  }) {
    this.layer = parts.layer;
    this.#openTar = parts.openTar;
    this.#recorded = parts.record?.data;
    this.#recordedEntries = parts.record?.entries;
  }

  /** True as long as there is a record that may be used. */
  get isKnown(): boolean {
    return this.#recorded !== undefined;
  }

  /** True once the blob was opened. */
  get isFetched(): boolean {
    return this.#tar !== undefined;
  }

  /** What will be remembered of the layer. */
  get recorder(): LayerRecorder {
    return this.#recorder;
  }

  /** Fetches, decompresses and verifies the blob, unless that was done. Throws `ERR_OCI_*`. */
  async open(): Promise<LayerTar> {
    this.#tar ??= this.#openTar();
    return await this.#tar;
  }

  /** Uses the record no more. */
  forget(): void {
    this.#recorded = undefined;
    this.#recordedEntries = undefined;
  }

  /** Gives back the memory of entries that will not be asked for again. */
  endEntries(): void {
    this.#recordedEntries = undefined;
  }

  /** From the first on, at every call before `endEntries`. Throws what `scanTar` throws, and `ERR_PUBLISH_LAYER_RECORD`. */
  async *entries(): AsyncGenerator<TarEntry> {
    this.#recorder = new LayerRecorder();
    if (this.#recordedEntries !== undefined) yield* this.#recordedEntries();
    else yield* this.#recorder.entries(scanTar(await this.open()));
  }

  /** What became of the chunk of that recipe before; undefined if that is not known. */
  fateOf(recipe: string): ChunkFate | undefined {
    return this.#recorded?.chunks.get(recipe);
  }

  /** Fills `target` with the uncompressed tar's bytes from `tarOffset` on, and has the record keep them. */
  async read(tarOffset: number, target: Uint8Array): Promise<void> {
    if (this.#recorded?.kept.fill(tarOffset, target) === true) return;
    const tar = await this.open();
    await tar.read(tarOffset, target);
    this.#recorder.kept.add(tarOffset, target);
  }

  /** Puts this layer's `reads` into the chunk. */
  async fill(reads: readonly DataRead[], chunk: Uint8Array): Promise<void> {
    if (this.#fillFromRecord(reads, chunk)) return;
    const tar = await this.open();
    const sorted = reads.toSorted((a, b) => a.tarOffset - b.tarOffset);
    for (let from = 0; from < sorted.length;) {
      const to = endOfSpan(sorted, from);
      await readSpan(tar, sorted.slice(from, to), chunk);
      from = to;
    }
  }

  #fillFromRecord(reads: readonly DataRead[], chunk: Uint8Array): boolean {
    for (const { tarOffset, lengthBytes, at } of reads) {
      const target = chunk.subarray(at, at + lengthBytes);
      if (this.#recorded?.kept.fill(tarOffset, target) !== true) return false;
    }
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const tar = await this.#tar?.catch(() => undefined);
    await tar?.[Symbol.asyncDispose]();
  }
}

/** Where the reads from index `from` on, sorted by tar offset, are no more near to each other. */
function endOfSpan(sorted: readonly DataRead[], from: number): number {
  for (let index = from + 1; index < sorted.length; index += 1) {
    const { tarOffset, lengthBytes } = present(sorted[index - 1], 'read');
    const gap = present(sorted[index], 'read').tarOffset - tarOffset - lengthBytes;
    if (gap > gapMaxBytes) return index;
  }
  return sorted.length;
}

/** One read of the tar for all of a span: a bin may hold a hundred small files. */
async function readSpan(tar: LayerTar, span: readonly DataRead[], chunk: Uint8Array) {
  const [first] = span;
  if (first === undefined) return;
  if (span.length === 1) {
    const { tarOffset, at, lengthBytes } = first;
    await tar.read(tarOffset, chunk.subarray(at, at + lengthBytes));
    return;
  }
  const end = Math.max(...span.map(({ tarOffset, lengthBytes }) => tarOffset + lengthBytes));
  const bytes = Buffer.allocUnsafeSlow(end - first.tarOffset);
  await tar.read(first.tarOffset, bytes);
  for (const { tarOffset, at, lengthBytes } of span) {
    const start = tarOffset - first.tarOffset;
    chunk.set(bytes.subarray(start, start + lengthBytes), at);
  }
  release(bytes);
}
