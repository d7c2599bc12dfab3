/** Objects in memory: the contract without a disk, for tests and simulations. Survives nothing. */

import { compareStrings } from '../../base/index.ts';
import { StoreObjectTooLargeError } from '../errors.ts';
import { checkObjectName, checkObjectPrefix } from '../object-names.ts';
import type { ObjectInfo, ObjectStore, PutOutcome, RequestOptions } from '../object-store.ts';

export interface MemoryStoreOptions {
  /** Default 1 GiB. */
  readonly objectSizeMaxBytes?: number;
}

class MemoryStore implements ObjectStore {
  readonly capabilities: ObjectStore['capabilities'];
  readonly #objects = new Map<string, Uint8Array>();

  constructor(objectSizeMaxBytes: number) {
    this.capabilities = { objectSizeMaxBytes };
  }

  async get(name: string, options: RequestOptions = {}): Promise<Uint8Array | undefined> {
    checkObjectName(name);
    options.signal?.throwIfAborted();
    const bytes = this.#objects.get(name);
    return bytes === undefined ? undefined : new Uint8Array(bytes);
  }

  async head(name: string, options: RequestOptions = {}): Promise<ObjectInfo | undefined> {
    checkObjectName(name);
    options.signal?.throwIfAborted();
    const bytes = this.#objects.get(name);
    return bytes === undefined ? undefined : { name, sizeBytes: bytes.byteLength };
  }

  async putIfAbsent(
    name: string,
    bytes: Uint8Array,
    options: RequestOptions = {},
  ): Promise<PutOutcome> {
    checkObjectName(name);
    const maxBytes = this.capabilities.objectSizeMaxBytes;
    if (bytes.byteLength > maxBytes) {
      throw new StoreObjectTooLargeError(name, bytes.byteLength, maxBytes);
    }
    options.signal?.throwIfAborted();
    if (this.#objects.has(name)) return 'existed';
    this.#objects.set(name, new Uint8Array(bytes));
    return 'created';
  }

  async delete(name: string, options: RequestOptions = {}): Promise<boolean> {
    checkObjectName(name);
    options.signal?.throwIfAborted();
    return this.#objects.delete(name);
  }

  async *list(prefix: string, options: RequestOptions = {}): AsyncIterable<ObjectInfo> {
    checkObjectPrefix(prefix);
    const names = [...this.#objects.keys()].filter((name) => name.startsWith(prefix));
    for (const name of names.toSorted(compareStrings)) {
      options.signal?.throwIfAborted();
      const bytes = this.#objects.get(name);
      if (bytes !== undefined) yield { name, sizeBytes: bytes.byteLength };
    }
    options.signal?.throwIfAborted();
  }
}

export function memoryStore(options: MemoryStoreOptions = {}): ObjectStore {
  return new MemoryStore(options.objectSizeMaxBytes ?? 1024 * 1024 * 1024);
}
