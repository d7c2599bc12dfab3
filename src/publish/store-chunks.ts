/**
 * From a planned disk to chunks in the store: what the layers' records know is only looked for, all else is rendered, sealed on
 * all cores and stored, many at a time.
 */

import { availableParallelism } from 'node:os';

import {
  defined,
  forEachLimited,
  present,
  release,
  toHex,
  type ProgressReporter,
} from '../base/index.ts';
import {
  defaultChunkSizeBytes,
  type ChunkCodec,
  type ManifestChunk,
  type SealPool,
} from '../chunk/index.ts';
import type { DiskPlan } from '../ext4/index.ts';
import { chunkObjectName, type ObjectStore } from '../store/index.ts';
import { draftChunk, type ChunkDraft } from './chunk-draft.ts';
import type { ChunkFate, StoredChunk } from './layer-record.ts';
import type { LayerSource } from './layer-source.ts';
import type { PrimeChunk, PrimedCounts, PublishedChunk } from './prime-chunk.ts';

export interface StoreChunksOptions {
  readonly plan: DiskPlan;
  /** Lowest first. */
  readonly layers: readonly LayerSource[];
  readonly store: ObjectStore;
  readonly sealer: SealPool;
  /** For the chunks that gain by it. */
  readonly codec: ChunkCodec;
  readonly rootId: string;
  /** Of the root. */
  readonly salt: Uint8Array;
  /** For what is new to the store. */
  readonly primeChunk?: PrimeChunk | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly progress?: ProgressReporter | undefined;
}

/** What a manifest says of the chunks, and what was new to the store. */
export interface StoredDisk {
  readonly chunks: readonly ManifestChunk[];
  readonly chunkKeys: readonly Uint8Array[];
  readonly newChunks: number;
  readonly newBytes: number;
  readonly primed: PrimedCounts;
}

/**
 * Chunks under way at a time: two for each sealing thread and some that are being read or written. Each holds its plaintext
 * and its ciphertext, so the bound keeps memory small on machines of many cores too.
 */
const chunksInFlight = Math.min(2 * availableParallelism() + 4, 32);

/** Stores every chunk of the plan that holds anything. What is not stored again was seen in the store. */
export async function storeChunks(options: StoreChunksOptions): Promise<StoredDisk> {
  const storing = new ChunkStoring(options);
  const indexes = options.plan.chunkIndexes(defaultChunkSizeBytes);
  let done = 0;
  await forEachLimited(indexes, chunksInFlight, async (index) => {
    options.signal?.throwIfAborted();
    await storing.store(index);
    done += 1;
    options.progress?.({ label: 'Store chunks', unit: 'chunks', done, total: indexes.length });
  });
  return storing.result();
}

class ChunkStoring {
  readonly #options: StoreChunksOptions;
  readonly #stored: { index: number; chunk: StoredChunk }[] = [];
  /** Arrays of a chunk's size that nobody uses. */
  readonly #spare: Uint8Array[] = [];
  #newChunks = 0;
  #newBytes = 0;
  #primed = { chunks: 0, failed: 0 };

  constructor(options: StoreChunksOptions) {
    this.#options = options;
  }

  async store(index: number): Promise<void> {
    const bytes = this.#spare.pop() ?? new Uint8Array(defaultChunkSizeBytes);
    const draft = await draftChunk(this.#options.plan, index * defaultChunkSizeBytes, {
      bytes,
      readNow: async (layer, tarOffset, target) => await this.#layer(layer).read(tarOffset, target),
    });
    const known = await this.#findKnown(draft);
    if (known !== undefined) this.#spare.push(bytes);
    const chunk = known ?? (await this.#storeNew(draft));
    if (chunk !== 'zeros') this.#stored.push({ index, chunk });
  }

  result(): StoredDisk {
    this.#stored.sort((a, b) => a.index - b.index);
    return {
      chunks: this.#stored.map(({ index, chunk: { key: _key, ...chunk } }) => ({
        index,
        ...chunk,
      })),
      chunkKeys: this.#stored.map(({ chunk }) => chunk.key),
      newChunks: this.#newChunks,
      newBytes: this.#newBytes,
      primed: { ...this.#primed },
    };
  }

  /** The chunk as the record of its layer has it, if the store still has it. */
  async #findKnown({ soleLayer }: ChunkDraft): Promise<ChunkFate | undefined> {
    if (soleLayer === undefined) return undefined;
    const known = this.#layer(soleLayer.layer).fateOf(soleLayer.recipe);
    if (known === undefined || known === 'zeros') return known;
    const { rootId, store, signal } = this.#options;
    const name = chunkObjectName(rootId, toHex(known.ciphertextDigest));
    const found = await store.head(name, defined({ signal }));
    return found?.sizeBytes === known.storedLengthBytes ? known : undefined;
  }

  async #storeNew(draft: ChunkDraft): Promise<ChunkFate> {
    await this.#fill(draft);
    const { soleLayer } = draft;
    const chunk = await this.#sealAndPut(draft.bytes);
    if (soleLayer !== undefined) {
      this.#layer(soleLayer.layer).recorder.addChunk(soleLayer.recipe, chunk);
    }
    return chunk;
  }

  /** Takes `bytes` over. */
  async #sealAndPut(bytes: Uint8Array): Promise<ChunkFate> {
    const { rootId, salt, sealer, codec: wanted, store, signal } = this.#options;
    const sealed = await sealer.seal(bytes, salt, wanted);
    if (sealed === undefined) return 'zeros';
    const { ciphertext, ciphertextDigest, storedLengthBytes, codec, key } = sealed;
    const name = chunkObjectName(rootId, toHex(ciphertextDigest));
    if ((await store.putIfAbsent(name, ciphertext, defined({ signal }))) === 'created') {
      this.#newChunks += 1;
      this.#newBytes += ciphertext.byteLength;
      await this.#prime({ rootId, ciphertextDigest, storedLengthBytes }, ciphertext);
    }
    release(ciphertext);
    return { storedLengthBytes, codec, ciphertextDigest, key };
  }

  async #prime(chunk: PublishedChunk, ciphertext: Uint8Array): Promise<void> {
    const { primeChunk, signal = new AbortController().signal, progress } = this.#options;
    if (primeChunk === undefined) return;
    const isPrimed = await primeChunk(chunk, ciphertext, { signal });
    this.#primed[isPrimed ? 'chunks' : 'failed'] += 1;
    const { chunks, failed } = this.#primed;
    progress?.({ label: 'Prime the zone', unit: 'chunks', done: chunks + failed });
  }

  /** Puts the file data in. What lies next to other things is kept in the layers' records. */
  async #fill({ bytes, reads, soleLayer }: ChunkDraft): Promise<void> {
    for (const [index, own] of Map.groupBy(reads, ({ layer }) => layer)) {
      const layer = this.#layer(index);
      await layer.fill(own, bytes);
      if (soleLayer !== undefined) continue;
      for (const { tarOffset, at, lengthBytes } of own) {
        layer.recorder.kept.add(tarOffset, bytes.subarray(at, at + lengthBytes));
      }
    }
  }

  #layer(index: number): LayerSource {
    return present(this.#options.layers[index], `layer ${index}`);
  }
}
