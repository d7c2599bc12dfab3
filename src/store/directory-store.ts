/**
 * Objects as files below one directory, for one machine or a shared file system with hard links.
 *
 * Object `root/chunks/abcd…` is the file `root/chunks/@a/@b/abcd…`: below the directories of its
 * other name parts, two levels named after the last part's first and second character spread the
 * files. `@` is in no object name, so objects `x` and `x/y` never meet. Following the name's own
 * characters keeps a listing in order without sorting it whole. One character a level is 256
 * directories for hex names, 4,000 files in each at a million objects; two a level make every early
 * put pay for a directory of its own (a third of the throughput, bench/store.bench.ts).
 *
 * A put writes a temporary file, makes its bytes durable, and only then links it to its name:
 * link(2) fails where the name exists, so one writer wins and nobody ever sees a part. Then it
 * makes the name durable. A writer that dies leaves at most a temporary file, which the next
 * `openDirectoryStore` sweeps once it is an hour old.
 */

import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, readdir, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

import {
  compareStrings,
  errorCode,
  makeDirectoryDurably,
  present,
  systemClock,
  type Clock,
} from '../base/index.ts';
import { DirectorySync } from './directory-sync.ts';
import { StoreObjectTooLargeError, storeError } from './errors.ts';
import { checkObjectName, checkObjectPrefix } from './object-names.ts';
import type {
  ObjectInfo,
  ObjectStore,
  ObjectStoreCapabilities,
  PutOutcome,
  RequestOptions,
} from './object-store.ts';

const fanOutMark = '@';
const temporaryDirectory = '@tmp';
const temporaryAgeMaxMs = 60 * 60 * 1000;
/** An object is held in memory whole. */
const objectSizeMaxBytes = 1024 * 1024 * 1024;
/** Sizes asked for at once while listing. */
const statBatchSize = 16;

export interface DirectoryStoreOptions {
  /** Tells the age of leftovers. Default: the system's. */
  readonly clock?: Clock;
}

/** Where an object's file lies, relative to the store. */
function objectPath(name: string): string {
  const parts = name.split('/');
  const leaf = present(parts.pop(), 'a name part');
  return join(...parts, fanOutMark + leaf.slice(0, 1), fanOutMark + leaf.slice(1, 2), leaf);
}

function isMissing(thrown: unknown): boolean {
  const code = errorCode(thrown);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** `undefined` where the file or its directory is not there. */
async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (thrown) {
    if (isMissing(thrown)) return undefined;
    throw thrown;
  }
}

async function writeDurably(
  path: string,
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  const handle = await open(path, 'wx', 0o444);
  try {
    await handle.writeFile(bytes, signal === undefined ? {} : { signal });
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

class DirectoryStore implements ObjectStore {
  readonly capabilities: ObjectStoreCapabilities = { objectSizeMaxBytes };
  readonly #path: string;
  readonly #directorySync = new DirectorySync();
  /** Directories known to be there durably, and those being made so. */
  readonly #prepared = new Map<string, Promise<void>>();

  constructor(path: string) {
    this.#path = path;
  }

  async get(name: string, options: RequestOptions = {}): Promise<Uint8Array | undefined> {
    checkObjectName(name);
    options.signal?.throwIfAborted();
    try {
      return await this.#unlessMissing(readFile(this.#file(name), options));
    } catch (thrown) {
      options.signal?.throwIfAborted();
      throw storeError(`read object "${name}"`, thrown);
    }
  }

  async head(name: string, options: RequestOptions = {}): Promise<ObjectInfo | undefined> {
    checkObjectName(name);
    options.signal?.throwIfAborted();
    try {
      const found = await this.#unlessMissing(stat(this.#file(name)));
      return found === undefined ? undefined : { name, sizeBytes: found.size };
    } catch (thrown) {
      throw storeError(`read object "${name}"`, thrown);
    }
  }

  async putIfAbsent(
    name: string,
    bytes: Uint8Array,
    options: RequestOptions = {},
  ): Promise<PutOutcome> {
    checkObjectName(name);
    if (bytes.byteLength > objectSizeMaxBytes) {
      throw new StoreObjectTooLargeError(name, bytes.byteLength, objectSizeMaxBytes);
    }
    options.signal?.throwIfAborted();
    try {
      return await this.#put(this.#file(name), bytes, options.signal);
    } catch (thrown) {
      options.signal?.throwIfAborted();
      throw storeError(`store object "${name}"`, thrown);
    }
  }

  async #put(
    file: string,
    bytes: Uint8Array,
    signal: AbortSignal | undefined,
  ): Promise<PutOutcome> {
    const directory = dirname(file);
    const existed = (await unlessMissing(stat(file))) !== undefined;
    if (existed) {
      await this.#prepare(directory); // whoever made it may not have made it durable yet
      await this.#directorySync.sync(directory);
      return 'existed';
    }
    const temporary = join(this.#path, temporaryDirectory, `${process.pid}-${randomUUID()}`);
    let outcome: PutOutcome = 'created';
    try {
      const prepared = this.#prepare(directory);
      await writeDurably(temporary, bytes, signal);
      await prepared;
      signal?.throwIfAborted();
      await link(temporary, file);
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') this.#prepared.clear(); // removed behind our back
      if (errorCode(thrown) !== 'EEXIST') throw thrown;
      outcome = 'existed';
    } finally {
      await unlessMissing(unlink(temporary));
    }
    await this.#directorySync.sync(directory);
    return outcome;
  }

  async delete(name: string, options: RequestOptions = {}): Promise<boolean> {
    checkObjectName(name);
    options.signal?.throwIfAborted();
    const file = this.#file(name);
    try {
      const deleted = await this.#unlessMissing(unlink(file).then(() => true));
      if (deleted === undefined) return false;
      await this.#directorySync.sync(dirname(file));
      return true;
    } catch (thrown) {
      throw storeError(`delete object "${name}"`, thrown);
    }
  }

  async *list(prefix: string, options: RequestOptions = {}): AsyncIterable<ObjectInfo> {
    checkObjectPrefix(prefix);
    options.signal?.throwIfAborted();
    const parent = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    try {
      await this.#checkIsThere();
      for await (const names of this.#namesBelow(parent, prefix)) {
        options.signal?.throwIfAborted();
        const sizes = await Promise.all(names.map((name) => unlessMissing(stat(this.#file(name)))));
        for (const [position, name] of names.entries()) {
          const found = sizes[position];
          if (found !== undefined) yield { name, sizeBytes: found.size };
        }
      }
    } catch (thrown) {
      options.signal?.throwIfAborted();
      throw storeError(`list objects "${prefix}"`, thrown);
    }
  }

  /**
   * Names below `parent` (empty, or ending in `/`) that start with `prefix`, in order, in batches.
   * Holds the names of one first character at a time.
   */
  async *#namesBelow(parent: string, prefix: string): AsyncGenerator<readonly string[]> {
    const entries = (await unlessMissing(readdir(join(this.#path, parent)))) ?? [];
    const directories = entries.filter((entry) => /^[A-Za-z0-9._-]+$/.test(entry)); // not `lost+found`
    const firstCharacters = entries
      .filter((entry) => entry.startsWith(fanOutMark) && entry !== temporaryDirectory)
      .map((entry) => entry.slice(fanOutMark.length));
    const heads = new Set([...firstCharacters, ...directories.map((entry) => entry.slice(0, 1))]);
    for (const head of [...heads].toSorted(compareStrings)) {
      const start = parent + head;
      if (!start.startsWith(prefix) && !prefix.startsWith(start)) continue;
      const below = directories
        .filter((entry) => entry.startsWith(head))
        .map((entry) => `${entry}/`);
      const leaves = await this.#leaves(parent, head);
      const names = [...below, ...leaves].map((key) => parent + key).toSorted(compareStrings);
      yield* this.#namesWithin(names, prefix);
    }
  }

  /**
   * Of sorted names, the wanted objects' in batches; those that end in `/` are directories and are
   * walked in their place.
   */
  async *#namesWithin(names: readonly string[], prefix: string): AsyncGenerator<readonly string[]> {
    let batch: string[] = [];
    for (const name of names) {
      if (name.endsWith('/')) {
        if (!name.startsWith(prefix)) continue;
        yield batch;
        batch = [];
        yield* this.#namesBelow(name, prefix);
      } else if (name.startsWith(prefix)) {
        batch.push(name);
        if (batch.length < statBatchSize) continue;
        yield batch;
        batch = [];
      }
    }
    yield batch;
  }

  async #leaves(parent: string, head: string): Promise<readonly string[]> {
    const first = join(this.#path, parent, fanOutMark + head);
    const seconds = (await unlessMissing(readdir(first))) ?? [];
    const leaves: string[] = [];
    for (const second of seconds) {
      for (const leaf of (await unlessMissing(readdir(join(first, second)))) ?? [])
        leaves.push(leaf);
    }
    return leaves;
  }

  /**
   * An object is missing only if the store is there: an origin that is not mounted has lost
   * nothing.
   */
  async #unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
    const found = await unlessMissing(work);
    if (found === undefined) await this.#checkIsThere();
    return found;
  }

  async #checkIsThere(): Promise<void> {
    await stat(join(this.#path, temporaryDirectory));
  }

  #file(name: string): string {
    return join(this.#path, objectPath(name));
  }

  /**
   * Makes `directory` and all above it up to the store, durably; once per directory and process.
   */
  #prepare(directory: string): Promise<void> {
    const known = this.#prepared.get(directory);
    if (known !== undefined) return known;
    const preparing = this.#prepareNow(directory);
    this.#prepared.set(directory, preparing);
    preparing.catch(() => this.#prepared.delete(directory));
    return preparing;
  }

  async #prepareNow(directory: string): Promise<void> {
    if (directory === this.#path) return;
    const parent = dirname(directory);
    await this.#prepare(parent);
    await mkdir(directory).catch((thrown: unknown) => {
      if (errorCode(thrown) !== 'EEXIST') throw thrown;
    });
    await this.#directorySync.sync(parent); // also when another process made it: it may not have come to this
  }
}

async function sweepTemporaries(path: string, clock: Clock): Promise<void> {
  for (const entry of await readdir(path)) {
    const file = join(path, entry);
    const found = await unlessMissing(stat(file));
    if (found === undefined || clock.nowMs() - found.mtimeMs < temporaryAgeMaxMs) continue;
    await unlessMissing(unlink(file));
  }
}

/**
 * Opens the store in directory `path`, which is made if absent. Any number of processes may use one
 * store at a time. Throws `ERR_STORE_UNAVAILABLE` if it cannot be made or written,
 * `ERR_STORE_FULL`.
 */
export async function openDirectoryStore(
  path: string,
  options: DirectoryStoreOptions = {},
): Promise<ObjectStore> {
  const root = resolve(path);
  const temporaries = join(root, temporaryDirectory);
  try {
    await makeDirectoryDurably(temporaries);
    await sweepTemporaries(temporaries, options.clock ?? systemClock);
    return new DirectoryStore(root);
  } catch (thrown) {
    throw storeError(`open the store "${path}"`, thrown);
  }
}
