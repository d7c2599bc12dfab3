/**
 * Publishes what functions wait for, in the background: the images of registries that they name, and the images of their
 * runtimes. The catalog says who waits (`Pending`, or an update in progress), so that the next server takes up what
 * one that was killed had begun; what was published up to then is not published again.
 */

import {
  ThawError,
  errorCode,
  errorMessage,
  type Clock,
  type Log,
  type Timers,
} from '../../base/index.ts';
import type { FunctionRecord, ImageRecord, StateReason } from '../../catalog/index.ts';
import { FunctionBadCodeError } from '../errors.ts';
import { FairPlaces } from './fair-places.ts';
import { imageSha256, type CodeDependencies } from './function-code.ts';

export interface PublicationDependencies extends CodeDependencies {
  /** Throws where the function could not be started from the image. */
  readonly checkStart: (record: FunctionRecord, image: ImageRecord) => Promise<void>;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly newId: () => string;
  readonly log: Log;
}

interface Job {
  /** Those that wait for it, all for the same. */
  readonly records: Set<FunctionRecord>;
  readonly controller: AbortController;
  readonly done: Promise<void>;
}

/**
 * Publishing takes a core and the network; more at a time would slow the starts of functions down. Of one tenant's, two may
 * wait for a slow registry and keep nobody else waiting.
 */
const publishAtATime = { placesMax: 4, placesPerTenantMax: 2 };
/** Between the attempts at a registry or a store that does not answer. */
const retryDelaysMs = [1000, 5000, 20_000];

const refusedCodes: ReadonlySet<string> = new Set([
  'ERR_OCI_UNAUTHORIZED',
  'ERR_OCI_FORBIDDEN',
  'ERR_OCI_BAD_CREDENTIALS',
]);
/** What the registry that the owner chose has to answer for. */
const registryCodes: ReadonlySet<string> = new Set([
  'ERR_OCI_RATE_LIMITED',
  'ERR_OCI_REGISTRY_FAILED',
  'ERR_OCI_REGISTRY_UNREACHABLE',
]);

/** What one record waits for. */
function sourceOf({ nextImageUri, code }: FunctionRecord): string {
  if (nextImageUri !== undefined) return `image ${nextImageUri}`;
  return code.packageType === 'Image' ? `image ${code.imageUri}` : `runtime ${code.runtime}`;
}

/** Source: FunctionConfiguration, `StateReasonCode`. Of what is not the owner's to know or to mend, nothing is told. */
function reasonOf(thrown: unknown): StateReason {
  const code = errorCode(thrown) ?? '';
  const message = errorMessage(thrown);
  if (refusedCodes.has(code)) return { code: 'ImageAccessDenied', message };
  if (code === 'ERR_FUNCTION_NO_COMMAND') return { code: 'InvalidConfiguration', message };
  const isOfImage = thrown instanceof ThawError && ['caller', 'data'].includes(thrown.fault);
  if (isOfImage) return { code: 'InvalidImage', message };
  if (registryCodes.has(code)) return { code: 'InternalError', message };
  return { code: 'InternalError', message: 'The code could not be made ready; try again' };
}

export class CodePublications {
  readonly #deps: PublicationDependencies;
  readonly #jobs = new Set<Job>();
  readonly #places = new FairPlaces(publishAtATime);
  #isClosed = false;

  constructor(deps: PublicationDependencies) {
    this.#deps = deps;
  }

  /** Takes up what servers before this one have left. */
  async resume(): Promise<void> {
    const bySource = new Map<string, FunctionRecord[]>();
    for (const record of await this.#deps.catalog.listUnfinishedFunctions()) {
      const key = `${record.tenant} ${sourceOf(record)}`;
      bySource.set(key, [...(bySource.get(key) ?? []), record]);
    }
    for (const records of bySource.values()) this.start(records);
  }

  /** They wait for the same: a function's `$LATEST` and the version made of it. */
  start(records: readonly FunctionRecord[]): void {
    if (this.#isClosed) return; // the next server takes it up
    const controller = new AbortController();
    const waiting = new Set(records);
    const done = this.#run(waiting, controller.signal).finally(() => this.#jobs.delete(job));
    const job: Job = { records: waiting, controller, done };
    this.#jobs.add(job);
  }

  /** They wait no longer. Resolves when nothing is done for them any more. */
  async cancel(of: {
    readonly tenant: string;
    readonly name: string;
    readonly version?: string;
  }): Promise<void> {
    const isMeant = (record: FunctionRecord): boolean =>
      isOf(record, of) && (of.version === undefined || record.version === of.version);
    const ending = [...this.#jobs].map(async ({ records, controller, done }) => {
      const meant = [...records].filter(isMeant);
      for (const record of meant) records.delete(record);
      if (meant.length === 0 || records.size > 0) return;
      controller.abort();
      await done;
    });
    await Promise.all(ending);
  }

  /** Resolves when nothing is being published, for that function or at all. */
  async settled(of?: { readonly tenant: string; readonly name: string }): Promise<void> {
    for (;;) {
      const jobs = [...this.#jobs].filter(
        ({ records }) => of === undefined || [...records].some((record) => isOf(record, of)),
      );
      if (jobs.length === 0) return;
      await Promise.all(jobs.map(({ done }) => done));
    }
  }

  /** Gives up what is under way; those that wait for it go on waiting in the catalog. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { controller } of this.#jobs) controller.abort();
    await this.settled();
  }

  async #run(records: ReadonlySet<FunctionRecord>, signal: AbortSignal): Promise<void> {
    const [first] = records;
    if (first === undefined) return;
    try {
      const publishing = () => this.#patiently(signal, () => this.#publish(first, signal));
      const image = await this.#places.run(first.tenant, publishing);
      for (const record of records) await this.#settle(record, image, signal);
    } catch (thrown) {
      if (signal.aborted) return;
      for (const record of records) await this.#fail(record, thrown, signal);
    }
  }

  /** Does it again where what failed may pass. */
  async #patiently<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        signal.throwIfAborted();
        return await work();
      } catch (thrown) {
        const delayMs = retryDelaysMs[attempt];
        const isPassing = thrown instanceof ThawError && thrown.retryable;
        if (!isPassing || delayMs === undefined || signal.aborted) throw thrown;
        await this.#pause(delayMs, signal);
      }
    }
  }

  async #publish(record: FunctionRecord, signal: AbortSignal): Promise<ImageRecord> {
    const { images, runtimes } = this.#deps;
    const { tenant, name, code, nextImageUri } = record;
    if (code.packageType === 'Zip') {
      if (runtimes !== undefined) return await runtimes.ensure(code.runtime);
      throw new FunctionBadCodeError(name, 'this worker takes images only');
    }
    const imageUri = nextImageUri ?? code.imageUri;
    if (images !== undefined) return await images.publish({ tenant, imageUri, signal });
    throw new FunctionBadCodeError(name, 'this worker takes published images only');
  }

  #pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#deps.timers.after(ms, resolve);
      signal.addEventListener(
        'abort',
        () => {
          cancel();
          resolve();
        },
        { once: true },
      );
    });
  }

  async #settle(record: FunctionRecord, image: ImageRecord, signal: AbortSignal): Promise<void> {
    try {
      await this.#patiently(signal, async () => {
        await this.#deps.checkStart(record, image);
        await this.#change(record, (now) => activated(now, image));
      });
    } catch (thrown) {
      if (!signal.aborted) await this.#fail(record, thrown, signal);
    }
  }

  async #fail(record: FunctionRecord, thrown: unknown, signal: AbortSignal): Promise<void> {
    this.#warn(record, thrown);
    const reason = reasonOf(thrown);
    try {
      await this.#patiently(signal, () => this.#change(record, (now) => failed(now, reason)));
    } catch (alsoThrown) {
      if (!signal.aborted) this.#warn(record, alsoThrown); // it waits for the next server
    }
  }

  /** Nothing happens to what was changed or removed since, or does not wait any longer. */
  async #change(
    record: FunctionRecord,
    change: (now: FunctionRecord) => FunctionRecord,
  ): Promise<void> {
    const { catalog, clock, newId } = this.#deps;
    try {
      await catalog.updateFunction(record, (now) =>
        now.revisionId === record.revisionId
          ? { ...change(now), revisionId: newId(), updatedAtMs: clock.nowMs() }
          : now,
      );
    } catch (thrown) {
      if (errorCode(thrown) !== 'ERR_CATALOG_NO_SUCH_FUNCTION') throw thrown;
    }
  }

  #warn({ tenant, name, version }: FunctionRecord, thrown: unknown): void {
    this.#deps.log.warn("Cannot make a function's code ready", {
      tenant,
      function: name,
      version,
      error: errorMessage(thrown),
    });
  }
}

function isOf(
  record: FunctionRecord,
  of: { readonly tenant: string; readonly name: string },
): boolean {
  return record.tenant === of.tenant && record.name === of.name;
}

function activated(record: FunctionRecord, image: ImageRecord): FunctionRecord {
  const { nextImageUri, stateReason: _gone, lastUpdateReason: _too, ...kept } = record;
  const active = { ...kept, state: 'Active', lastUpdateStatus: 'Successful' } as const;
  const { code } = record;
  if (code.packageType === 'Zip') return active;
  const imageUri = nextImageUri ?? code.imageUri;
  return {
    ...active,
    code: { packageType: 'Image', imageUri, manifestId: image.manifestId },
    codeSha256: imageSha256(image),
  };
}

/** An update that fails leaves the code as it was. */
function failed(record: FunctionRecord, reason: StateReason): FunctionRecord {
  const { nextImageUri, ...kept } = record;
  return {
    ...kept,
    ...(nextImageUri === undefined ? { state: 'Failed', stateReason: reason } : {}),
    lastUpdateStatus: 'Failed',
    lastUpdateReason: reason,
  };
}
