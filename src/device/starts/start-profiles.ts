/**
 * The start profiles of a worker: fetched from the store beside the manifests, learned from its starts, written back when others would
 * gain by it.
 *
 * Invariants: nothing that goes wrong with a profile reaches a start; it is logged and counted. Writes are bounded: none while starts
 * read what the profile says, and but for the first few starts one an image in `saveIntervalMs` whatever they read. Workers know nothing of each other: the last one to write
 * wins, and what the other learned is lost.
 */

import {
  systemClock,
  errorCode,
  errorMessage,
  toHex,
  type Clock,
  type Log,
} from '../../base/index.ts';
import type { KeyService } from '../../keys/index.ts';
import type { ImageRef } from '../images/block-images.ts';
import { openStartProfile, sealStartProfile } from './start-profile-seal.ts';
import type { PackSource } from './pack-writer.ts';
import type { StartPack } from './start-pack.ts';
import { unpackedChunkCount } from './start-plan.ts';
import {
  earlyStarts,
  isSettled,
  isWellPacked,
  isWorthSaving,
  mergeStart,
  type StartProfile,
  type StartReads,
} from './start-profile.ts';

/** Where sealed profiles are kept: one an image. What it throws is logged. */
export interface ProfileStore {
  /** Undefined if there is none. */
  fetch(image: ImageRef): Promise<Uint8Array | undefined>;
  /** Need not be atomic: a profile that is lost is learned anew. */
  replace(image: ImageRef, sealed: Uint8Array): Promise<void>;
  /** Keeps a chunk of a start pack among the chunks of the image's root, unless it is there. `digestHex`: its name. */
  keepChunk(image: ImageRef, digestHex: string, ciphertext: Uint8Array): Promise<void>;
}

/** Makes the pack of a profile's windows, as far as it differs from the one before. */
export type PackMaker = (profile: StartProfile, keep: PackSource['keep']) => Promise<StartPack>;

export interface StartProfilesOptions {
  readonly store: ProfileStore;
  readonly keys: KeyService;
  readonly clock?: Clock;
  readonly log: Log;
}

/** Since the agent started. */
export interface StartProfileCounters {
  /** Starts that had a profile, that had none, and whose profile could not be fetched or was of no use. */
  readonly found: number;
  readonly absent: number;
  readonly unusable: number;
  /** Starts that were learned from. */
  readonly learned: number;
  /** Of these, such as were written to the store, and such as could not be. */
  readonly saved: number;
  readonly unsaved: number;
}

/** A profile as it lies in the store, told from others by its seal. */
interface Stored {
  readonly profile: StartProfile;
  readonly seal: string;
}

/** Of one image. */
interface Known {
  /** What the store had last, as far as this worker knows. */
  readonly stored: Stored | undefined;
  /** The same with the starts here since. */
  readonly current: StartProfile | undefined;
  readonly savedAtMs: number;
  /** `StartReads.unpackedChunks` of the last start here. */
  readonly unpackedChunks: number | undefined;
  /** A start need not wait for the store to say what it has now. */
  readonly isAtHand: boolean;
}

const saveIntervalMs = 30_000;
/** Images whose profiles are remembered: for what was learned and not yet worth writing. */
const rememberedMax = 256;

export class StartProfiles {
  readonly #options: StartProfilesOptions;
  readonly #clock: Clock;
  /** By `keyOf`, the one used last at the end. */
  readonly #known = new Map<string, Known>();
  /** By `keyOf`. */
  readonly #saving = new Map<string, Promise<unknown>>();
  readonly #counters = { found: 0, absent: 0, unusable: 0, learned: 0, saved: 0, unsaved: 0 };

  constructor(options: StartProfilesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  get counters(): StartProfileCounters {
    return { ...this.#counters };
  }

  /**
   * What starts of the image read, for prefetching; undefined if that is not known. What this worker knows it says at once, and asks the
   * store for the next time what others have learned. Never throws.
   */
  async load(image: ImageRef): Promise<StartProfile | undefined> {
    const known = this.#known.get(keyOf(image));
    const refreshed = this.#refresh(image);
    return known?.isAtHand === true && known.current !== undefined ? known.current : refreshed;
  }

  /** Whether the page cache of a start along `profile`, which was loaded for it, need not be looked at: it is known. */
  isSettled(image: ImageRef, profile: StartProfile): boolean {
    return isSettled(profile, this.#known.get(keyOf(image))?.unpackedChunks);
  }

  /** From now on the first load of each image waits for the store, as on a worker that has never seen it. */
  refetch(): void {
    for (const [key, known] of this.#known) this.#known.set(key, { ...known, isAtHand: false });
  }

  /**
   * Learns what a start has read. True if the store has it when this resolves; false if that was
   * not worth a write, came too soon after the last one, or failed. Never throws.
   */
  async learn(image: ImageRef, reads: StartReads, makePack: PackMaker): Promise<boolean> {
    const { unpackedChunks } = reads;
    this.#counters.learned += 1;
    const known = this.#known.get(keyOf(image));
    const current = mergeStart(known?.current, reads);
    const stored = known?.stored;
    const savedAtMs = known?.savedAtMs ?? -Infinity;
    const learned = { stored, current, savedAtMs, unpackedChunks, isAtHand: true };
    this.#remember(image, learned);
    const nowMs = this.#clock.monotonicMs();
    if (this.#saving.has(keyOf(image))) return false; // of the two the older one would stay
    const isEarly = current.starts <= earlyStarts;
    if (!isEarly && nowMs - savedAtMs < saveIntervalMs) return false;
    const isPackPoor = reads.windows !== undefined && lacksPages(current, isEarly);
    if (!isPackPoor && !isWorthSaving(stored?.profile, current)) return false;
    this.#remember(image, { ...learned, savedAtMs: nowMs });
    const saving = this.#save(image, current, makePack);
    this.#saving.set(keyOf(image), saving);
    const saved = await saving.finally(() => this.#saving.delete(keyOf(image)));
    const latest = this.#known.get(keyOf(image));
    if (saved !== undefined && latest !== undefined) {
      const { pack } = saved.profile;
      const withPack = latest.current && { ...latest.current, pack };
      this.#remember(image, { ...latest, stored: saved, current: withPack });
    }
    return saved !== undefined;
  }

  /** Resolves when nothing is being written any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#saving.values());
  }

  /** Never rejects. */
  async #refresh(image: ImageRef): Promise<StartProfile | undefined> {
    const before = this.#known.get(keyOf(image))?.stored;
    const found = await this.#fetch(image);
    const known = this.#known.get(keyOf(image));
    const isOutdated = known?.stored !== before; // there was a start meanwhile, and was written
    const stored = isOutdated ? known?.stored : found;
    // If another worker wrote meanwhile, what was learned here and not written is lost.
    const isNews = stored !== undefined && known?.stored?.seal !== stored.seal;
    const current = isNews ? stored.profile : known?.current;
    const savedAtMs = known?.savedAtMs ?? -Infinity;
    const unpackedChunks = isNews ? undefined : known?.unpackedChunks; // of another pack
    this.#remember(image, { stored, current, savedAtMs, unpackedChunks, isAtHand: true });
    return current;
  }

  async #fetch(image: ImageRef): Promise<Stored | undefined> {
    const { store, keys } = this.#options;
    try {
      const sealed = await store.fetch(image);
      if (sealed === undefined) {
        this.#counters.absent += 1;
        return undefined;
      }
      const profile = await openStartProfile(sealed, image, keys);
      this.#counters.found += 1;
      return { profile, seal: sealOf(sealed) };
    } catch (thrown) {
      this.#counters.unusable += 1;
      this.#warn('starting without a start profile', image, thrown);
      return undefined;
    }
  }

  /** Undefined if that failed. */
  async #save(
    image: ImageRef,
    learned: StartProfile,
    makePack: PackMaker,
  ): Promise<Stored | undefined> {
    const { store, keys } = this.#options;
    try {
      const made = await makePack(learned, async (digestHex, ciphertext) =>
        store.keepChunk(image, digestHex, ciphertext),
      );
      const profile = { ...learned, pack: made.chunks.length > 0 ? made : undefined };
      const sealed = await sealStartProfile(profile, image, keys);
      await store.replace(image, sealed);
      this.#counters.saved += 1;
      return { profile, seal: sealOf(sealed) };
    } catch (thrown) {
      this.#counters.unsaved += 1;
      this.#warn('a start profile was not saved', image, thrown);
      return undefined;
    }
  }

  #remember(image: ImageRef, known: Known): void {
    this.#known.delete(keyOf(image));
    this.#known.set(keyOf(image), known);
    const [oldest] = this.#known.keys();
    if (this.#known.size > rememberedMax && oldest !== undefined) this.#known.delete(oldest);
  }

  #warn(message: string, { manifestId }: ImageRef, thrown: unknown): void {
    const reason = errorMessage(thrown);
    this.#options.log.warn(message, { image: manifestId, code: errorCode(thrown), reason });
  }
}

/** Whether another pack would spare starts chunks of the disk; `isEarly`: be it a single one. */
function lacksPages(profile: StartProfile, isEarly: boolean): boolean {
  const { pack } = profile;
  if (pack === undefined) return false; // as it is where none can be made
  const count = unpackedChunkCount(profile);
  return isEarly ? count > 0 : !isWellPacked(profile, count);
}

function keyOf({ tenant, rootId, manifestId }: ImageRef): string {
  return JSON.stringify([tenant, rootId, manifestId]);
}

/** The tag at its end: no two have the same. */
function sealOf(sealed: Uint8Array): string {
  return toHex(sealed.subarray(-16));
}
