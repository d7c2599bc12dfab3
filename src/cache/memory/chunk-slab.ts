/**
 * L1: plaintext chunks in memory that several threads read in place while one thread, the owner, fills and evicts.
 *
 * The slab is an array of slots of one chunk each. A chunk is in at most one slot, whichever images hold it. Each
 * image has a table with an entry per chunk of its disk, which says in which slot the chunk is; the owner enters a chunk
 * into the table of an image only when the image's own manifest has its key, so nobody reads what they could not open.
 *
 * Invariant: a slot is overwritten only when no table names it and nobody has pinned it. A reader pins a slot and then
 * looks at its table entry again; the owner removes the entries and then looks at the pins. Atomics are sequentially
 * consistent, so at least one of the two sees the other: either the reader gives up, or the owner leaves the slot alone.
 */

import { assert, systemClock, type Clock } from '../../base/index.ts';
import { chunkReplacement } from '../replacement/chunk-replacement.ts';
import { LruK } from '../replacement/lru-k.ts';

/**
 * What a table entry says: the chunk is all zeros, it is not here, or (from 1 up) it is in slot `entry - 1`. Zero chunks are
 * 0 because nearly all of a disk's addresses are holes: of a table of a million chunks only the pages that hold a stored
 * one are ever touched.
 */
const entryZero = 0;
const entryAbsent = -1;

/** The shared memory of a slab; posting it to a thread shares it. */
export interface SlabMemory {
  readonly slotSizeBytes: number;
  readonly slotCount: number;
  readonly chunks: SharedArrayBuffer;
  /** Int32 a slot: how many readers are in it. */
  readonly pins: SharedArrayBuffer;
  /** Int32 a slot: 1 if it was read since the owner last took note of it. */
  readonly touched: SharedArrayBuffer;
  /** Int64 each: pieces of reads that were found here, and that were not. */
  readonly reads: SharedArrayBuffer;
}

const hitsAt = 0;
const missesAt = 1;

/** Reads a slab from any thread. */
export class SlabView {
  readonly #memory: SlabMemory;
  readonly #pins: Int32Array;
  readonly #touched: Int32Array;
  readonly #reads: BigInt64Array;

  constructor(memory: SlabMemory) {
    this.#memory = memory;
    this.#pins = new Int32Array(memory.pins);
    this.#touched = new Int32Array(memory.touched);
    this.#reads = new BigInt64Array(memory.reads);
  }

  /**
   * Looks chunk `index` up in an image's table: its slot, now pinned, until `unpin`; or `'zero'`; or
   * undefined if it is not in the slab.
   */
  pin(table: Int32Array, index: number): number | 'zero' | undefined {
    const entry = Atomics.load(table, index);
    if (entry === entryZero) return 'zero';
    if (entry === entryAbsent) return undefined;
    const slot = entry - 1;
    Atomics.add(this.#pins, slot, 1);
    if (Atomics.load(table, index) !== entry) {
      Atomics.sub(this.#pins, slot, 1);
      return undefined;
    }
    Atomics.store(this.#touched, slot, 1);
    return slot;
  }

  unpin(slot: number): void {
    Atomics.sub(this.#pins, slot, 1);
  }

  /** For the status: so many pieces of a read, each of one chunk, were answered from slots. */
  countHits(pieces: number): void {
    if (pieces > 0) Atomics.add(this.#reads, hitsAt, BigInt(pieces));
  }

  /** For the status: a piece of a read had to be loaded. */
  countMiss(): void {
    Atomics.add(this.#reads, missesAt, 1n);
  }

  /** The bytes `start..end` of a pinned slot, in place: not to be written, nor used after `unpin`. */
  bytes(slot: number, start: number, end: number): Uint8Array {
    return new Uint8Array(
      this.#memory.chunks,
      slot * this.#memory.slotSizeBytes + start,
      end - start,
    );
  }
}

/** One image's entries; made by `ChunkSlab.createTable`. */
export interface SlabTable {
  /** Shared: an entry per chunk of the disk. */
  readonly entries: Int32Array;
}

export interface SlabOptions {
  /** Memory for chunks; at least one slot. The slab never takes more. */
  readonly memoryBytes: number;
  /** The longest chunk that it takes. */
  readonly slotSizeBytes: number;
  /** Tells when chunks are used. Default: the system's. */
  readonly clock?: Clock;
}

export interface SlabStatus {
  readonly slotCount: number;
  readonly chunks: number;
  readonly bytesMax: number;
  readonly evictions: number;
  /** Chunks not kept because every slot was being read. */
  readonly refused: number;
  /** Pieces of reads, each of one chunk, that were found in the slab, and that had to be loaded. Zeros are neither. */
  readonly hits: number;
  readonly misses: number;
}

interface Occupant {
  readonly identity: string;
  /** The table entries that name the slot. */
  readonly entries: { readonly table: SlabTable; readonly index: number }[];
}

function sharedInts(count: number): SharedArrayBuffer {
  return new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT);
}

/** How often the owner should call `noteReads`. */
export const slabNoteIntervalMs = 1000;

/**
 * The owner's side of a slab. Evicts by LRU-2, as lru-k.ts says. Readers only set a flag, which is taken for a reference when the owner
 * comes to see it: in `noteReads`, or before it evicts the chunk.
 *
 * What is known of evicted chunks is bounded by the number of slots: about 0.6 KB each.
 */
export class ChunkSlab {
  readonly memory: SlabMemory;
  readonly #pins: Int32Array;
  readonly #touched: Int32Array;
  readonly #occupants: (Occupant | undefined)[];
  readonly #slots = new Map<string, number>();
  readonly #policy: LruK<string>;
  readonly #clock: Clock;
  /** Without a chunk. Some may still be read, until their readers are done. */
  readonly #freeSlots: number[];
  #evictions = 0;
  #refused = 0;

  constructor(options: SlabOptions) {
    const { slotSizeBytes } = options;
    const slotCount = Math.max(1, Math.floor(options.memoryBytes / slotSizeBytes));
    this.memory = {
      slotSizeBytes,
      slotCount,
      chunks: new SharedArrayBuffer(slotCount * slotSizeBytes),
      pins: sharedInts(slotCount),
      touched: sharedInts(slotCount),
      reads: new SharedArrayBuffer(2 * BigInt64Array.BYTES_PER_ELEMENT),
    };
    this.#pins = new Int32Array(this.memory.pins);
    this.#touched = new Int32Array(this.memory.touched);
    this.#occupants = Array.from({ length: slotCount });
    this.#freeSlots = Array.from({ length: slotCount }, (_, index) => slotCount - 1 - index);
    this.#clock = options.clock ?? systemClock;
    this.#policy = new LruK({ ...chunkReplacement, historyMax: slotCount });
  }

  get status(): SlabStatus {
    const reads = new BigInt64Array(this.memory.reads);
    return {
      slotCount: this.memory.slotCount,
      chunks: this.#slots.size,
      bytesMax: this.memory.chunks.byteLength,
      evictions: this.#evictions,
      refused: this.#refused,
      hits: Number(Atomics.load(reads, hitsAt)),
      misses: Number(Atomics.load(reads, missesAt)),
    };
  }

  /** A table for a disk of `chunkCount` chunks; those not in `storedIndexes` are all zeros and never need a slot. */
  createTable(chunkCount: number, storedIndexes: Iterable<number>): SlabTable {
    const entries = new Int32Array(sharedInts(chunkCount));
    for (const index of storedIndexes) entries[index] = entryAbsent;
    return { entries };
  }

  /** Makes the table say that no stored chunk is here; its readers miss from now on. */
  dropTable(table: SlabTable): void {
    for (const occupant of this.#occupants) {
      if (occupant === undefined) continue;
      const kept = occupant.entries.filter((entry) => entry.table !== table);
      for (const entry of occupant.entries) {
        if (entry.table === table) Atomics.store(table.entries, entry.index, entryAbsent);
      }
      occupant.entries.splice(0, occupant.entries.length, ...kept);
    }
  }

  /**
   * Copies a chunk in, zeros after it; false if every slot is being read, and then it is just not kept.
   * `identity` must stand for these bytes and for the right to read them (`chunkIdentity`).
   */
  insert(identity: string, plaintext: Uint8Array): boolean {
    assert(plaintext.byteLength <= this.memory.slotSizeBytes, 'A chunk is longer than its slot');
    if (this.#slots.has(identity)) return true;
    const slot = this.#vacate();
    if (slot === undefined) {
      this.#refused += 1;
      return false;
    }
    const bytes = this.#slotBytes(slot);
    bytes.set(plaintext);
    bytes.fill(0, plaintext.byteLength);
    this.#occupants[slot] = { identity, entries: [] };
    this.#slots.set(identity, slot);
    this.#policy.admit(identity, this.#clock.monotonicMs());
    return true;
  }

  /** Lets readers of `table` find the chunk at `index`. False if the chunk is not in the slab (any more). */
  publish(table: SlabTable, index: number, identity: string): boolean {
    const slot = this.#slots.get(identity);
    const occupant = slot === undefined ? undefined : this.#occupants[slot];
    if (slot === undefined || occupant === undefined) return false;
    if (Atomics.load(table.entries, index) !== slot + 1) {
      occupant.entries.push({ table, index });
      Atomics.store(table.entries, index, slot + 1);
    }
    return true;
  }

  /** Whether readers of `table` find the chunk at `index` at this moment, or zeros; not where the disk has no such chunk. */
  has({ entries }: SlabTable, index: number): boolean {
    return index < entries.length && Atomics.load(entries, index) !== entryAbsent;
  }

  /** Takes what was read since the last call for references made now. To be called every `slabNoteIntervalMs`. */
  noteReads(): void {
    const nowMs = this.#clock.monotonicMs();
    for (let slot = 0; slot < this.memory.slotCount; slot += 1) this.#noteRead(slot, nowMs);
  }

  /** Forgets every chunk, and when they were used. What is being read at this moment stays readable until its reader is done. */
  clear(): void {
    for (let slot = 0; slot < this.memory.slotCount; slot += 1) this.#unpublish(slot);
    this.#policy.clear();
  }

  #slotBytes(slot: number): Uint8Array {
    const { chunks, slotSizeBytes } = this.memory;
    return new Uint8Array(chunks, slot * slotSizeBytes, slotSizeBytes);
  }

  #unpublish(slot: number): void {
    const occupant = this.#occupants[slot];
    if (occupant === undefined) return;
    for (const { table, index } of occupant.entries) {
      Atomics.store(table.entries, index, entryAbsent);
    }
    this.#slots.delete(occupant.identity);
    this.#occupants[slot] = undefined;
    Atomics.store(this.#touched, slot, 0);
    this.#freeSlots.push(slot);
  }

  /** True if a thread has read the slot's chunk since it was last asked. */
  #noteRead(slot: number, nowMs: number): boolean {
    if (this.#touched[slot] === 0) return false; // not yet seen here: seen the next time
    const occupant = this.#occupants[slot];
    if (Atomics.exchange(this.#touched, slot, 0) === 0 || occupant === undefined) return false;
    return this.#policy.reference(occupant.identity, nowMs);
  }

  /** Finds a slot to overwrite, and takes it out of use; undefined if all are being read. */
  #vacate(): number | undefined {
    const nowMs = this.#clock.monotonicMs();
    // Readers may be faster than this loop: it ends all the same, by not noting their reads.
    let notesLeft = this.memory.slotCount;
    for (;;) {
      const free = this.#takeFreeSlot();
      if (free !== undefined) return free;
      const victim = this.#policy.victim(nowMs, (identity) => this.#isPinned(identity));
      const slot = victim === undefined ? undefined : this.#slots.get(victim);
      if (victim === undefined || slot === undefined) return undefined;
      if (notesLeft > 0 && this.#noteRead(slot, nowMs)) {
        notesLeft -= 1;
        continue;
      }
      this.#policy.evict(victim);
      this.#unpublish(slot); // free now, unless a reader has pinned it a moment ago
      this.#evictions += 1;
    }
  }

  #isPinned(identity: string): boolean {
    const slot = this.#slots.get(identity);
    return slot !== undefined && Atomics.load(this.#pins, slot) > 0;
  }

  #takeFreeSlot(): number | undefined {
    const position = this.#freeSlots.findLastIndex((slot) => Atomics.load(this.#pins, slot) === 0);
    return position === -1 ? undefined : this.#freeSlots.splice(position, 1)[0];
  }
}
