/**
 * What a sandbox needs whatever it runs: a network, a control group, a process that waits. Made
 * ahead where that pays, since the kernel takes longer for these than for all the rest.
 */

import { errorMessage, type Log } from '../base/index.ts';
import type { Cgroup } from './cgroups.ts';
import type { PreparedLaunch } from './launcher.ts';
import type { NetworkNamespace } from './network-namespace.ts';
import type { OutputPipe } from './output-pipe.ts';

/** Dispose of it to remove all of it, and whatever runs in it. */
export interface Place extends AsyncDisposable {
  readonly cgroup: Cgroup;
  readonly network: NetworkNamespace;
  readonly output: OutputPipe;
  readonly launch: PreparedLaunch;
}

export interface ReadyPlacesOptions {
  /** Kept ready; 0 for none. */
  readonly count: number;
  readonly make: () => Promise<Place>;
  readonly log: Log;
}

/** A few places that are ready. */
export class ReadyPlaces implements AsyncDisposable {
  readonly #options: ReadyPlacesOptions;
  readonly #ready: Place[] = [];
  #filling: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: ReadyPlacesOptions) {
    this.#options = options;
  }

  /** One that was ready, whose end is the caller's from now on, or else undefined. */
  async take(): Promise<Place | undefined> {
    for (let place = this.#ready.shift(); place !== undefined; place = this.#ready.shift()) {
      if (place.launch.isUsable) return place;
      await this.#discard(place);
    }
    return undefined;
  }

  /** Makes what is missing, one after the other, while nobody waits for it. Never rejects. */
  fill(): Promise<void> {
    this.#filling ??= this.#fill().finally(() => {
      this.#filling = undefined;
    });
    return this.#filling;
  }

  async #fill(): Promise<void> {
    const { count, make, log } = this.#options;
    while (!this.#isClosed && this.#ready.length < count) {
      try {
        this.#ready.push(await make());
      } catch (thrown) {
        log.warn('Cannot prepare a sandbox ahead', { error: errorMessage(thrown) });
        return; // the next start finds out what is wrong
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await this.#filling;
    await Promise.all(this.#ready.splice(0).map((place) => this.#discard(place)));
  }

  async #discard(place: Place): Promise<void> {
    try {
      await place[Symbol.asyncDispose]();
    } catch (thrown) {
      this.#options.log.warn('Cannot remove a sandbox that was prepared ahead', {
        error: errorMessage(thrown),
      });
    }
  }
}
