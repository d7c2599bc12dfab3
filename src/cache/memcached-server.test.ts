import { memcachedMissing, startMemcached, type MemcachedOptions } from './testing/memcached.ts';
import { zoneServerConformance } from './testing/zone-server-conformance.ts';
import { MemcachedServer } from './memcached-server.ts';

const auth = { user: 'worker', password: 'correct:horse' };

/** Every way of reaching a server. */
const ways: Readonly<Record<string, MemcachedOptions>> = {
  'memcached over TCP': {},
  'memcached over IPv6, on flash': { host: '::1', extstoreMebibytes: 64 },
  'memcached with a password': { auth },
  'memcached over TLS, with a password': { tls: true, auth },
};

for (const [name, options] of Object.entries(ways)) {
  zoneServerConformance({
    name,
    skip: memcachedMissing,
    create: async () => {
      const memcached = await startMemcached(options);
      const server = new MemcachedServer({ address: memcached.address });
      return {
        server,
        [Symbol.asyncDispose]: async () => {
          await server.close();
          await memcached[Symbol.asyncDispose]();
        },
      };
    },
  });
}
