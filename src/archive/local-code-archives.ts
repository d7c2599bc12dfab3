/**
 * Archives in the store, and what is unpacked of them on this worker.
 *
 * Invariants: a directory is whole before anybody sees it, and gone after its last lease; what is unpacked keeps to its share
 * of memory and disk.
 */

import { randomBytes } from 'node:crypto';

import { Semaphore, type Log } from '../base/index.ts';
import type { KeyService } from '../keys/index.ts';
import type { ObjectStore } from '../store/index.ts';
import { decodeHead, type PlanHead } from './archive-plan.ts';
import {
  deleteArchive,
  fetchArchive,
  storeArchive,
  type FetchedArchive,
} from './archive-objects.ts';
import { archiveKeyContext, frameArchive, openRange } from './archive-seal.ts';
import { ArchiveThreads } from './archive-threads.ts';
import type {
  ArchiveFacts,
  ArchiveRef,
  CodeArchives,
  CodeDirectory,
  StoredArchive,
  UnpackOptions,
} from './code-archives.ts';
import { CodeSpace, type CodePlace } from './code-space.ts';
import { ArchiveTooLargeError } from './errors.ts';
import { zipSizeMaxBytes } from './limits.ts';
import type { OpenableArchive } from './unpack-part.ts';

/** What archives are kept with; all of it stays the caller's. */
export interface CodeArchivesOptions {
  readonly store: ObjectStore;
  readonly keys: KeyService;
  /** The root that new archives go into. */
  readonly activeRoot: () => Promise<string>;
  /** Absolute; shared by all processes of the worker. Archives are unpacked below it. */
  readonly directory: string;
  /**
   * What may be unpacked at a time in memory, which is several times as fast; 0: nothing. Needs the right to mount. Sizes are
   * counted in blocks of 4 KiB.
   */
  readonly memoryMaxBytes: number;
  /** And on disk, once there is no room in memory. */
  readonly diskMaxBytes: number;
  /** Default: one for each core, up to 4. */
  readonly threads?: number;
  readonly log: Log;
}

/** Archives that are downloaded and unpacked at a time: each takes its own size of memory, and one keeps all threads busy. */
const unpackingsAtATime = 3;
/** Archives that are checked, sealed and stored at a time: each takes up to three times its own size. */
const acceptancesAtATime = 3;

/** Nothing is made or started before it is needed. */
export function createCodeArchives(options: CodeArchivesOptions): CodeArchives {
  return new LocalCodeArchives(options);
}

/** An archive's directory on this worker. */
interface Copy {
  readonly ready: Promise<CodePlace>;
  leases: number;
}

/** A sealed archive whose head was opened, the rest being on its way. */
interface OpenedArchive extends OpenableArchive, Pick<FetchedArchive, 'arrived'> {
  readonly head: PlanHead;
}

/** In memory that threads share, so that none gets a copy of its own. */
function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.byteLength));
  copy.set(bytes);
  return copy;
}

class LocalCodeArchives implements CodeArchives {
  readonly #options: CodeArchivesOptions;
  readonly #threads: ArchiveThreads;
  readonly #space: CodeSpace;
  readonly #acceptances = new Semaphore(acceptancesAtATime);
  readonly #unpackings = new Semaphore(unpackingsAtATime);
  readonly #copies = new Map<string, Copy>();

  constructor(options: CodeArchivesOptions) {
    this.#options = options;
    const { threads } = options;
    this.#threads = new ArchiveThreads(threads === undefined ? {} : { threads });
    this.#space = new CodeSpace({
      ...options,
      removeTree: async (directory) => await this.#threads.run('remove', { directory }, 'prefetch'),
    });
  }

  async check(zipFile: Uint8Array): Promise<ArchiveFacts> {
    return (await this.#acceptances.run(async () => await this.#checked(zipFile))).facts;
  }

  async accept(tenant: string, zipFile: Uint8Array): Promise<StoredArchive> {
    return await this.#acceptances.run(async () => await this.#accept(tenant, zipFile));
  }

  async unpack(of: ArchiveRef, { sharedBy = '' }: UnpackOptions = {}): Promise<CodeDirectory> {
    const copyKey = JSON.stringify([of.tenant, of.rootId, of.archiveId, sharedBy]);
    const copy = this.#copies.get(copyKey) ?? this.#startCopy(of, copyKey);
    copy.leases += 1;
    const { path } = await copy.ready;
    let isOver = false;
    return {
      path,
      [Symbol.asyncDispose]: async () => {
        if (isOver) return;
        isOver = true;
        copy.leases -= 1;
        if (copy.leases > 0 || this.#copies.get(copyKey) !== copy) return;
        this.#copies.delete(copyKey);
        this.#space.giveBack(await copy.ready);
      },
    };
  }

  async read(of: ArchiveRef): Promise<Uint8Array> {
    return await this.#opened(of, async ({ sealed, frame, key, arrived }) => {
      const from = frame.headBytes + frame.listsBytes;
      const range = { from, to: from + frame.zipBytes };
      await arrived(range);
      return await this.#threads.run('open', { sealed, frame, key, range });
    });
  }

  async remove(of: ArchiveRef): Promise<void> {
    await deleteArchive(this.#options.store, of);
  }

  /** Directories still in use are removed as well: whoever closes has ended those who use them. */
  async [Symbol.asyncDispose](): Promise<void> {
    const copies = [...this.#copies.values()];
    this.#copies.clear();
    const places = await Promise.allSettled(copies.map(({ ready }) => ready));
    for (const place of places) if (place.status === 'fulfilled') this.#space.giveBack(place.value);
    await this.#space.close();
    await this.#threads[Symbol.asyncDispose]();
  }

  async #accept(tenant: string, zipFile: Uint8Array): Promise<StoredArchive> {
    const { zip, facts, head, lists } = await this.#checked(zipFile);
    const { store, keys, activeRoot } = this.#options;
    const rootId = await activeRoot();
    const of = { tenant, rootId, archiveId: randomBytes(32).toString('hex') };
    const { plaintext: key, wrapped } = await keys.generateDataKey(tenant, archiveKeyContext(of));
    try {
      const lengths = {
        headBytes: head.byteLength,
        listsBytes: lists.byteLength,
        zipBytes: zip.byteLength,
      };
      const framed = frameArchive(of, wrapped, lengths);
      const sealed = await this.#threads.run('seal', { parts: [head, lists, zip], key, ...framed });
      await storeArchive(store, of, { sealed, frame: framed.frame });
    } finally {
      key.fill(0);
    }
    return { archiveId: of.archiveId, rootId, ...facts };
  }

  async #checked(zipFile: Uint8Array) {
    if (zipFile.byteLength > zipSizeMaxBytes) {
      throw new ArchiveTooLargeError('Zipped', zipSizeMaxBytes);
    }
    const zip = shared(zipFile);
    return { zip, ...(await this.#threads.run('check', { zip })) };
  }

  /** A failed one is forgotten, so that the next call tries again. */
  #startCopy(of: ArchiveRef, copyKey: string): Copy {
    this.#threads.warmUp();
    const ready = this.#unpackings.run(async () => await this.#unpackCopy(of));
    const copy: Copy = { ready, leases: 0 };
    this.#copies.set(copyKey, copy);
    ready.catch(() => {
      if (this.#copies.get(copyKey) === copy) this.#copies.delete(copyKey);
    });
    return copy;
  }

  async #unpackCopy(of: ArchiveRef): Promise<CodePlace> {
    this.#space.prepare();
    return await this.#opened(of, async (archive) => {
      const { diskBytes } = archive.head;
      const place = await this.#space.take(of.archiveId.slice(0, 16), diskBytes);
      try {
        await this.#unpackInto(place.path, archive);
        return place;
      } catch (thrown) {
        this.#space.giveBack(place);
        throw thrown;
      }
    });
  }

  /** All parts have ended, well or not, when it has. */
  async #unpackInto(directory: string, archive: OpenedArchive): Promise<void> {
    const { head, arrived, sealed, frame, key } = archive;
    const zipFrom = frame.headBytes + frame.listsBytes;
    const parts = head.parts.map(async (part) => {
      await arrived({ from: zipFrom + part.from, to: zipFrom + part.to });
      await this.#threads.run('unpack', { sealed, frame, key, part, directory });
    });
    const failed = (await Promise.allSettled(parts)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
    const { directories, links } = head;
    if (directories.length + links.length === 0) return;
    await this.#threads.run('finish', { directories, links, directory });
  }

  /** Has an archive's key for as long as `work` takes, and the archive as it comes. */
  async #opened<T>(of: ArchiveRef, work: (archive: OpenedArchive) => Promise<T>): Promise<T> {
    const { store, keys } = this.#options;
    await using fetched = await fetchArchive(store, of);
    const { sealed, frame, wrapped, arrived } = fetched;
    const key = await keys.unwrapDataKey(of.tenant, wrapped, archiveKeyContext(of));
    try {
      const head = decodeHead(openRange(sealed, key, frame, { from: 0, to: frame.headBytes }));
      return await work({ sealed, frame, key, head, arrived });
    } finally {
      key.fill(0);
    }
  }
}
