/** What is measured against what: each way to start a function, with what must be so before and what is tidied up after. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { present } from '../../src/base/index.ts';
import type { ShapedLink } from '../support/shaped-link.ts';
import { apps, type App } from './apps.ts';
import type { BenchRegistry } from './bench-registry.ts';
import type { Containerd, Snapshotter } from './containerd.ts';
import { estargzImage, recordStart, type Form, type StartRecord } from './estargz.ts';
import { FirstInvocation } from './first-invocation.ts';
import { appImage, type AppImage } from './make-images.ts';
import { quiet } from './quiet.ts';
import { startByRunc } from './runc.ts';
import type { CacheState, Packaging, ThawUnderTest } from './thaw.ts';

/** By id; titles as tables have them. */
export const systems = {
  overlayfs: 'overlayfs, page-warm (runc)',
  'containerd-warm': 'containerd, image pulled',
  containerd: 'containerd, pull and unpack',
  stargz: 'eStargz',
  'stargz-optimised': 'eStargz, optimised',
  'thaw-origin': 'Thaw, origin only',
  'thaw-zone': 'Thaw, zone warm',
  'thaw-worker': 'Thaw, worker warm',
  'thaw-page': 'Thaw, page cache warm',
  'zip-origin': 'Thaw zip, origin only',
  'zip-zone': 'Thaw zip, zone warm',
  'zip-page': 'Thaw zip, runtime page-warm',
} as const;

export type SystemId = keyof typeof systems;

export const systemIds = Object.keys(systems) as readonly SystemId[];

/** What takes seconds, and knows nothing of Thaw. */
export const pullsEachTime: ReadonlySet<SystemId> = new Set([
  'containerd',
  'stargz',
  'stargz-optimised',
]);

/** One start. */
export interface Measured {
  /** From the request to the response, as the client sees it. */
  readonly elapsedMs: number;
  /** In order; what is left out was not needed. */
  readonly phasesMs: Readonly<Record<string, number>>;
  /** What each part took of the processors, to 10 ms; Thaw's. */
  readonly processorMs?: Readonly<Record<string, number>>;
  /** What was read of the image; Thaw's. */
  readonly reads?: {
    readonly chunks: number;
    readonly bytes: number;
    readonly byTier: Readonly<Record<string, { readonly chunks: number }>>;
  };
}

const prefixes: Readonly<Record<Packaging, string>> = { image: 'thaw', zip: 'zip' };

/** A zip archive holds what a runtime that Thaw makes can run. */
export function isPossible(app: App, packaging: Packaging): boolean {
  return packaging === 'image' || app.program === 'node';
}

const container = 'bench';

export interface BenchSetting {
  /** For what is made during the run. */
  readonly directory: string;
  readonly link: ShapedLink;
  readonly registry: BenchRegistry;
  /** Where images are pulled each time. */
  readonly cold: Containerd;
  /** Where images stay. */
  readonly warm: Containerd;
  readonly thaw: ThawUnderTest;
  /**
   * The same with a zone that has nothing. To give one worker another zone for a sample would cost the samples after it: after a
   * change a worker reads all five stripes of each chunk for ten minutes.
   */
  readonly thawOriginOnly: ThawUnderTest;
}

/** One app, made ready for every system that is wanted. */
export class AppUnderTest {
  readonly app: App;
  readonly #setting: BenchSetting;
  readonly #image: AppImage;
  #lower = '';

  private constructor(setting: BenchSetting, image: AppImage) {
    this.app = image.app;
    this.#setting = setting;
    this.#image = image;
  }

  /** Builds, converts, pushes and publishes what is not there yet. */
  static async prepare(
    setting: BenchSetting,
    app: App,
    wanted: readonly SystemId[],
  ): Promise<AppUnderTest> {
    const prepared = new AppUnderTest(setting, await appImage(app));
    await prepared.#push('plain', prepared.#image);
    if (wanted.includes('stargz')) await prepared.#pushEstargz('lazy');
    if (wanted.includes('stargz-optimised')) await prepared.#pushEstargz('optimised');
    if (wanted.includes('overlayfs') || wanted.includes('containerd-warm')) await prepared.#warm();
    for (const [packaging, prefix] of Object.entries(prefixes) as [Packaging, string][]) {
      if (!isPossible(app, packaging)) continue;
      const ofThaw = wanted.filter((system) => system.startsWith(prefix));
      const origins = ofThaw.filter((system) => system.endsWith('-origin'));
      if (origins.length > 0) await setting.thawOriginOnly.deploy(prepared.#image, packaging);
      if (ofThaw.length > origins.length) await setting.thaw.deploy(prepared.#image, packaging);
    }
    return prepared;
  }

  /** One start by `system`, all conditions met. */
  async measure(system: SystemId): Promise<Measured> {
    if (system === 'overlayfs') return await this.#byRunc();
    if (system === 'containerd-warm') return await this.#warmly();
    if (system === 'containerd') return await this.#pulling('plain', 'overlayfs');
    if (system === 'stargz') return await this.#pulling('lazy', 'stargz');
    if (system === 'stargz-optimised') return await this.#pulling('optimised', 'stargz');
    const [prefix, state] = system.split('-') as ['thaw' | 'zip', CacheState];
    const packaging = prefix === 'zip' ? 'zip' : 'image';
    const { thaw, thawOriginOnly } = this.#setting;
    return await (state === 'origin' ? thawOriginOnly : thaw).start(this.app.id, packaging, state);
  }

  /** Past the link, as whoever publishes would do. */
  #directReference(form: Form | 'plain'): string {
    return `127.0.0.1:${this.#setting.registry.port}/${this.app.id}:${form}`;
  }

  async #push(
    form: Form | 'plain',
    image: { readonly source: string; readonly digest: string },
  ): Promise<void> {
    const { registry } = this.#setting;
    if ((await registry.digestOf(this.app.id, form)) === image.digest) return;
    await registry.push(image.source, `${this.app.id}:${form}`);
  }

  async #pushEstargz(form: Form): Promise<void> {
    const record = form === 'optimised' ? await this.#record() : undefined;
    await this.#push(form, await estargzImage(this.#image, form, record));
  }

  /**
   * What a start of Node reads of the layers that all of its functions have is the same for all, and only those that import
   * their packages read of them: so each layer is converted once.
   */
  async #record(): Promise<StartRecord> {
    const { packages, layers } = this.app;
    const record = async (): Promise<StartRecord> =>
      await recordStart(this.#image, this.#directReference('plain'), this.#setting.cold);
    if (packages === undefined || packages.mb === 0) return await record();
    const simplest = present(
      apps.find((app) => app.packages?.mb === 0),
      'a Node function without packages',
    );
    const without = await AppUnderTest.prepare(this.#setting, simplest, []);
    const shared = await without.#record();
    const above = layers.length;
    const own = packages.isImported ? (await record()).slice(above) : [[], ...shared.slice(above)];
    return [...shared.slice(0, above), ...own];
  }

  async #warm(): Promise<void> {
    const { warm, directory } = this.#setting;
    const reference = this.#directReference('plain');
    await warm.pull(reference, 'overlayfs');
    const target = join(directory, `mount-${this.app.id}`);
    await warm.mount(reference, target);
    const mounts = await readFile('/proc/self/mounts', 'utf8');
    const line = mounts.split('\n').find((mount) => mount.split(' ')[1] === target) ?? '';
    const lower = /lowerdir=([^, ]+)/.exec(line)?.[1];
    await warm.unmount(target);
    if (lower === undefined) throw new Error(`No overlayfs of "${reference}" in "${line}"`);
    this.#lower = lower;
  }

  async #byRunc(): Promise<Measured> {
    await using invocation = await FirstInvocation.open();
    await quiet();
    const { directory } = this.#setting;
    const startedAtMs = performance.now();
    const env = { AWS_LAMBDA_RUNTIME_API: invocation.address };
    await using start = await startByRunc(directory, this.app, this.#lower, env);
    const { askedAtMs, answeredAtMs } = await invocation.times;
    return {
      elapsedMs: answeredAtMs - startedAtMs,
      phasesMs: {
        mount: start.mountedAtMs - startedAtMs,
        runtimeReady: askedAtMs - start.mountedAtMs,
        response: answeredAtMs - askedAtMs,
      },
    };
  }

  async #warmly(): Promise<Measured> {
    const { warm } = this.#setting;
    await quiet();
    return await this.#run(warm, this.#directReference('plain'), 'overlayfs', performance.now());
  }

  async #pulling(form: Form | 'plain', snapshotter: Snapshotter): Promise<Measured> {
    const { cold, link } = this.#setting;
    const reference = `127.0.0.1:${link.portOf('registry')}/${this.app.id}:${form}`;
    await cold.forget(reference);
    if (snapshotter === 'stargz') await cold.emptyStargz();
    await quiet();
    const startedAtMs = performance.now();
    await cold.pull(reference, snapshotter);
    try {
      return await this.#run(cold, reference, snapshotter, startedAtMs);
    } finally {
      await cold.forget(reference);
    }
  }

  async #run(
    containerd: Containerd,
    reference: string,
    snapshotter: Snapshotter,
    startedAtMs: number,
  ): Promise<Measured> {
    await using invocation = await FirstInvocation.open();
    const pulledAtMs = performance.now();
    try {
      const env = { AWS_LAMBDA_RUNTIME_API: invocation.address };
      await containerd.run(reference, container, { snapshotter, env });
      const { askedAtMs, answeredAtMs } = await invocation.times;
      return {
        elapsedMs: answeredAtMs - startedAtMs,
        phasesMs: {
          pull: pulledAtMs - startedAtMs,
          runtimeReady: askedAtMs - pulledAtMs,
          response: answeredAtMs - askedAtMs,
        },
      };
    } finally {
      await containerd.remove(container);
    }
  }
}
