/**
 * Which servers of the zone hold a chunk's stripes: weighted rendezvous hashing with bounded load. Pure and stateless: workers that
 * know the same servers agree without speaking to each other.
 *
 * The key space is cut into slots by the first bits of the chunk's digest. Every server has a score in every slot, a hash of
 * the two; the five best have the slot's stripes (Thaler, Ravishankar: Using name-based mappings to increase hit rates, 1998).
 * A server that leaves takes its own stripes with it and moves no others; one that comes takes its share from all.
 *
 * A score is exponential with the server's rate, and a server wins by an early one, so that weights count as they should; the rate
 * is -ln(1 - share), after which the five first include each server with about the share that its weight gives it
 * (Rosén: On sampling with probability proportional to size, 1997).
 *
 * No server gets more than its share and a tenth (Mirrokni, Thorup, Zadimoghaddam: Consistent hashing with bounded loads, 2018; Chen et
 * al.: Revisiting consistent hashing with bounded loads, 2021): who is full is passed over for the next best.
 */

import { hash } from 'node:crypto';

import { assert, compareStrings, viewOf } from '../../base/index.ts';

/** Four of data and their parity; any four of them make the chunk. */
export const stripesPerChunk = 5;
/** How many it takes to read a chunk. With fewer servers the zone holds nothing. */
export const stripesToRead = 4;

/** As many as the first 12 bits tell apart: small enough to place at once, and enough for some hundred servers. */
const slotCount = 4096;
const slotShift = 16 - Math.log2(slotCount);

/** How far a server may go above its share. */
const loadSlack = 0.1;

export interface PlacedServer {
  /** What is hashed: the same text on every worker. */
  readonly id: string;
  /** Of its memory, in any unit: twice the weight, twice the stripes. Above 0. */
  readonly weight: number;
}

interface Candidate {
  readonly index: number;
  readonly seedHigh: number;
  readonly seedLow: number;
  readonly rate: number;
  /** Slots that it may still take. */
  room: number;
  /** In the slot that is being placed. */
  atTime: number;
}

/**
 * How many slots each server holds, so that the sum is `copies` for each slot: by weight, but none more than all slots; what
 * that leaves over the others share.
 */
function fairLoads(servers: readonly PlacedServer[], copies: number): readonly number[] {
  const full = new Set<PlacedServer>();
  for (;;) {
    const rest = servers.filter((server) => !full.has(server));
    const restWeight = rest.reduce((sum, { weight }) => sum + weight, 0);
    const perWeight = (slotCount * (copies - full.size)) / restWeight;
    const brimming = rest.filter(({ weight }) => weight * perWeight >= slotCount);
    if (brimming.length === 0) {
      return servers.map((server) => (full.has(server) ? slotCount : server.weight * perWeight));
    }
    for (const server of brimming) full.add(server);
  }
}

/** Scrambles 32 bits: the finalizer of MurmurHash3. */
function mix(bits: number): number {
  let mixed = bits;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** When a server's turn comes in a slot; the earliest five have it. 0 for those that are in every slot. */
function arrival({ seedHigh, seedLow, rate }: Candidate, slot: number): number {
  const drawn = mix(mix(slot ^ seedHigh) ^ seedLow);
  return -Math.log((drawn + 0.5) / 2 ** 32) / rate;
}

/**
 * The best `copies` of those with room, in order. Servers with room for every slot that is left are left out only as often as all
 * the room together allows: otherwise the last slots would not find `copies` different servers.
 */
function chooseServers(
  candidates: readonly Candidate[],
  slot: number,
  copies: number,
): readonly Candidate[] {
  const slotsLeft = slotCount - slot;
  for (const candidate of candidates) candidate.atTime = arrival(candidate, slot);
  const ranked = candidates
    .filter(({ room }) => room > 0)
    .sort((a, b) => a.atTime - b.atTime || a.index - b.index);
  const usableRoom = ranked.reduce((sum, { room }) => sum + Math.min(room, slotsLeft), 0);
  const critical = ranked.filter(({ room }) => room >= slotsLeft);
  const mustTake = Math.max(0, critical.length - (usableRoom - copies * slotsLeft));
  if (mustTake === 0) return ranked.slice(0, copies);
  const taken = new Set(critical.slice(0, mustTake));
  for (const candidate of ranked) {
    if (taken.size === copies) break;
    taken.add(candidate);
  }
  return ranked.filter((candidate) => taken.has(candidate));
}

/** For each slot its servers, made once for each change of the servers. */
export class ZonePlacement {
  /** As given, by id. */
  readonly servers: readonly PlacedServer[];
  /** How many servers each slot has: 5, or as many as there are. */
  readonly copies: number;
  /** How many slots each of `servers` may have. */
  readonly loadsMax: readonly number[];
  /** `copies` indexes into `servers` a slot. */
  readonly #table: Uint16Array;

  /** The order of `servers` does not matter. Ids MUST differ; weights MUST be above 0 and finite. */
  constructor(servers: readonly PlacedServer[]) {
    this.servers = servers.toSorted((a, b) => compareStrings(a.id, b.id));
    assert(new Set(servers.map(({ id }) => id)).size === servers.length, 'Two servers have one id');
    assert(
      servers.every(({ weight }) => weight > 0 && Number.isFinite(weight)),
      'The weight of a server is not above 0',
    );
    this.copies = Math.min(stripesPerChunk, servers.length);
    const loads = fairLoads(this.servers, this.copies);
    this.loadsMax = loads.map((load) => Math.min(slotCount, Math.ceil(load * (1 + loadSlack))));
    this.#table = new Uint16Array(slotCount * this.copies);
    this.#fill(loads);
  }

  /** The servers of a chunk, five or as many as there are: stripe 0 goes to the first, and so on. */
  serversOf(ciphertextDigest: Uint8Array): readonly PlacedServer[] {
    return this.#serversOfSlot(viewOf(ciphertextDigest).readUInt16BE(0) >>> slotShift);
  }

  /** The servers of every slot, in order. */
  *slots(): Iterable<readonly PlacedServer[]> {
    for (let slot = 0; slot < slotCount; slot += 1) yield this.#serversOfSlot(slot);
  }

  #serversOfSlot(slot: number): readonly PlacedServer[] {
    const indexes = this.#table.subarray(slot * this.copies, (slot + 1) * this.copies);
    return Array.from(indexes, (index) => this.servers[index]).filter(
      (server) => server !== undefined,
    );
  }

  #fill(loads: readonly number[]): void {
    const candidates = this.servers.map(({ id }, index): Candidate => {
      const seed = hash('sha256', id, 'buffer');
      const rate = -Math.log1p(-Math.min(1, (loads[index] ?? 0) / slotCount));
      const room = this.loadsMax[index] ?? 0;
      const [seedHigh, seedLow] = [seed.readInt32LE(0), seed.readInt32LE(4)];
      return { index, rate, room, seedHigh, seedLow, atTime: 0 };
    });
    for (let slot = 0; slot < slotCount; slot += 1) {
      const chosen = chooseServers(candidates, slot, this.copies);
      assert(chosen.length === this.copies, `Slot ${slot} of the zone found no servers`);
      for (const [position, candidate] of chosen.entries()) {
        candidate.room -= 1;
        this.#table[slot * this.copies + position] = candidate.index;
      }
    }
  }
}
