import { countingStore } from './counting-store.ts';
import { memoryStore } from './memory-store.ts';
import { objectStoreConformance } from './object-store-conformance.ts';

objectStoreConformance({
  name: 'memory',
  create: async () => {
    return { store: memoryStore(), [Symbol.asyncDispose]: async () => {} };
  },
});

objectStoreConformance({
  name: 'memory, of objects up to 1 MiB',
  create: async () => {
    const store = memoryStore({ objectSizeMaxBytes: 1024 * 1024 });
    return { store, [Symbol.asyncDispose]: async () => {} };
  },
});

objectStoreConformance({
  name: 'counting over memory',
  create: async () => {
    return { store: countingStore(memoryStore()), [Symbol.asyncDispose]: async () => {} };
  },
});
