/** A store that tells what is read from it. */

import type { ObjectStore } from '../object-store.ts';

export interface CountingStore extends ObjectStore {
  /** Names given to `get`, in order. */
  readonly read: string[];
}

export function countingStore(inner: ObjectStore): CountingStore {
  const read: string[] = [];
  return {
    capabilities: inner.capabilities,
    get: async (name, options) => {
      read.push(name);
      return await inner.get(name, options);
    },
    head: (name, options) => inner.head(name, options),
    putIfAbsent: (name, bytes, options) => inner.putIfAbsent(name, bytes, options),
    delete: (name, options) => inner.delete(name, options),
    list: (prefix, options) => inner.list(prefix, options),
    read,
  };
}
