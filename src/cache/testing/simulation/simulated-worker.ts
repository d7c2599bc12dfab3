/** A worker as far as chunks go: the real slab, loader and zone cache over a simulated disk, zone and origin. */

import { errorCode, viewOf } from '../../../base/index.ts';
import type { VirtualTime } from '../../../base/testing/virtual-time.ts';
import {
  chunkIdentity,
  type ChunkRef,
  type LoadOptions,
  type Tier,
} from '../../search/chunk-loader.ts';
import { ChunkSlab, SlabView, type SlabTable } from '../../memory/chunk-slab.ts';
import { createTieredLoader, type TieredLoader } from '../../search/tiered-loader.ts';
import { WorkerReads } from '../../worker-reads.ts';
import { ZoneCache } from '../../zone/zone-cache.ts';
import type { ZoneMember } from '../../zone/zone-members.ts';
import type { ZoneServer } from '../../zone/zone-server.ts';
import type { Random } from './randomness.ts';
import { SimulatedDisk } from './simulated-disk.ts';
import type { OriginClient } from './simulated-origin.ts';

/** A chunk of the one image that there is, at its index, and what reading it must give. */
export interface KnownChunk {
  readonly index: number;
  readonly ref: ChunkRef;
  readonly plaintext: Uint8Array;
}

/** How a read ended: where the chunk was found, or the code of its error. */
export type ReadEnd =
  | { readonly kind: 'right'; readonly tier: Tier }
  | { readonly kind: 'wrong'; readonly tier: Tier }
  | { readonly kind: 'error'; readonly code: string };

export interface SimulatedWorkerOptions {
  readonly chunks: readonly KnownChunk[];
  readonly slotSizeBytes: number;
  readonly slotCount: number;
  readonly diskChunksMax: number;
  readonly servers: readonly ZoneMember[];
  readonly connect: (member: ZoneMember) => ZoneServer;
  readonly origin: OriginClient;
  readonly originConcurrency: number;
  readonly time: VirtualTime;
  readonly random: Random;
}

export class SimulatedWorker {
  readonly disk: SimulatedDisk;
  readonly zone: ZoneCache;
  readonly loader: TieredLoader;
  readonly origin: OriginClient;
  readonly #slab: ChunkSlab;
  readonly #view: SlabView;
  readonly #table: SlabTable;

  constructor(options: SimulatedWorkerOptions) {
    const { chunks, slotSizeBytes, slotCount, servers, connect, origin, time } = options;
    this.origin = origin;
    this.disk = new SimulatedDisk(options.diskChunksMax, time, options.random);
    this.zone = new ZoneCache({ servers, connect, reads: new WorkerReads(time), time });
    this.loader = createTieredLoader({
      tiers: [
        { tier: 'l1-disk', cache: this.disk },
        { tier: 'l2', cache: this.zone },
      ],
      store: origin,
      originConcurrency: options.originConcurrency,
      time,
    });
    this.#slab = new ChunkSlab({
      memoryBytes: slotCount * slotSizeBytes,
      slotSizeBytes,
      clock: time,
    });
    this.#view = new SlabView(this.#slab.memory);
    this.#table = this.#slab.createTable(
      chunks.length,
      chunks.map(({ index }) => index),
    );
  }

  /** As the device reads: from memory, or through the loader and into memory. */
  async read({ index, ref, plaintext }: KnownChunk, options: LoadOptions): Promise<ReadEnd> {
    const slot = this.#view.pin(this.#table.entries, index);
    if (typeof slot === 'number') {
      const isRight = viewOf(this.#view.bytes(slot, 0, plaintext.byteLength)).equals(plaintext);
      this.#view.unpin(slot);
      return { kind: isRight ? 'right' : 'wrong', tier: 'l1' };
    }
    try {
      const loaded = await this.loader.load(ref, options);
      const identity = chunkIdentity(ref);
      if (this.#slab.insert(identity, loaded.plaintext)) {
        this.#slab.publish(this.#table, index, identity);
      }
      const isRight = viewOf(loaded.plaintext).equals(plaintext);
      return { kind: isRight ? 'right' : 'wrong', tier: loaded.tier };
    } catch (thrown) {
      return { kind: 'error', code: errorCode(thrown) ?? String(thrown) };
    }
  }

  /** As after a restart of the worker's agent. */
  forgetMemory(): void {
    this.#slab.clear();
  }
}
