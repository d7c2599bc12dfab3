/** What one invoke made the agent read: the image's counters after it, less those before. */

import { errorCode, errorMessage, type Log } from '../../base/index.ts';
import {
  eachTier,
  type ImageRef,
  type ReadAmount,
  type ReadCounters,
  type RootMounts,
} from '../../device/index.ts';
import type { InvokeResult } from '../function-runs.ts';

type Reads = NonNullable<InvokeResult['reads']>;

const none: Reads = { chunks: 0, bytes: 0, byTier: eachTier(() => ({ chunks: 0, bytes: 0 })) };

function less(after: ReadAmount, before: ReadAmount): ReadAmount {
  return { chunks: after.chunks - before.chunks, bytes: after.bytes - before.bytes };
}

/**
 * Counters start again when an image is opened again, so lower ones mean that all of them are new.
 */
function readsBetween(before: Reads, after: ReadCounters): Reads {
  const hasGrown = eachTier((tier) => after.byTier[tier].chunks >= before.byTier[tier].chunks);
  const isSameOpening = !Object.values(hasGrown).includes(false) && after.chunks >= before.chunks;
  const base = isSameOpening ? before : none;
  return {
    ...less(after, base),
    byTier: eachTier((tier) => less(after.byTier[tier], base.byTier[tier])),
  };
}

export class ReadMeter {
  readonly #mounts: RootMounts;
  readonly #image: ImageRef;
  readonly #log: Log;
  readonly #before: Promise<ReadCounters | undefined>;

  /**
   * Starts to count. An invoke never fails for want of counters: it counts nothing and the log says
   * so.
   */
  constructor(mounts: RootMounts, image: ImageRef, log: Log) {
    this.#mounts = mounts;
    this.#image = image;
    this.#log = log;
    this.#before = this.#counters();
  }

  /** Resolves when counting has begun: what is read from then on is in the result. */
  async begun(): Promise<void> {
    await this.#before;
  }

  async reads(): Promise<Reads> {
    const before = await this.#before;
    const after = await this.#counters();
    return after === undefined ? none : readsBetween(before ?? none, after);
  }

  async #counters(): Promise<ReadCounters | undefined> {
    try {
      return await this.#mounts.counters(this.#image);
    } catch (thrown) {
      if (errorCode(thrown) === 'ERR_DEVICE_IMAGE_NOT_OPEN') return undefined; // nothing was read yet
      this.#log.warn('Cannot count what an invoke reads', {
        image: this.#image.manifestId,
        error: errorMessage(thrown),
      });
      return undefined;
    }
  }
}
