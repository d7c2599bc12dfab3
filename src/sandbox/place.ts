/**
 * What a sandbox needs whatever it runs: a network, a control group, a process that waits. Made
 * ahead where that pays, since the kernel takes longer for these than for all the rest.
 */

import { rm } from 'node:fs/promises';

import { errorMessage, type Log } from '../base/index.ts';
import { Cgroup, type CgroupLayout } from './limits/cgroups.ts';
import type { Launcher, PreparedLaunch } from './launchers/launcher.ts';
import { createNetworkNamespace, type NetworkNamespace } from './network/network-namespace.ts';
import { OutputPipe } from './launchers/output-pipe.ts';
import { cgroupName, makeOwnDirectory } from './sandbox-directories.ts';

export const runtimeApiPort = 9001;

/** What places are made with. */
export interface PlaceMaker {
  readonly launcher: Launcher;
  readonly layout: CgroupLayout;
  readonly stateDir: string;
}

/** Dispose of it to remove all of it, and whatever runs in it. */
export interface Place extends AsyncDisposable {
  readonly cgroup: Cgroup;
  /** Undefined: the host's own network. */
  readonly namespace: NetworkNamespace | undefined;
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

let placesMade = 0;

/** A place that has no sandbox yet, in a directory by which it is swept. */
export async function makePlaceAhead(maker: PlaceMaker): Promise<Place> {
  placesMade += 1;
  const name = `ready-${process.pid}-${placesMade}`;
  await using made = new AsyncDisposableStack();
  const directory = await makeOwnDirectory(maker.stateDir, name);
  made.defer(() => rm(directory, { recursive: true, force: true }));
  const place = made.use(await makePlace(maker, name, true));
  const all = made.move();
  return { ...place, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** `isIsolated`: with a network namespace of its own. */
export async function makePlace(
  { launcher, layout, stateDir }: PlaceMaker,
  name: string,
  isIsolated: boolean,
): Promise<Place> {
  await using made = new AsyncDisposableStack();
  const namespace = isIsolated ? createNetworkNamespace(runtimeApiPort) : undefined;
  made.defer(() => namespace?.close());
  const output = made.use(new OutputPipe());
  const cgroup = new Cgroup(layout, cgroupName(stateDir, name));
  made.defer(() => cgroup.remove());
  const launch = await launcher.prepare({
    ...(namespace === undefined ? {} : { networkNamespacePath: namespace.path }),
    cgroup,
    outputFd: output.writeFd,
  });
  const all = made.move();
  return { namespace, output, cgroup, launch, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
