/** The demo's zone: five memcached servers of its own on loopback, where memcached is installed. */

import { programPath } from '../../src/base/index.ts';
import { startMemcached, type Memcached } from '../../src/cache/testing/memcached.ts';

/** Five on this machine are for show: in a zone each has a machine of its own, and flash. */
const serverCount = 5;
const serverSize = { memoryMebibytes: 128, extstoreMebibytes: 256 };

export interface DemoZone extends AsyncDisposable {
  /** As in the configuration. */
  readonly addresses: readonly string[];
  /** SIGSTOP: one server keeps its connections and answers nothing. Returns its address. */
  stopOne(): string;
}

/** Undefined where memcached is not installed. Disposing of it ends the servers. */
export async function startDemoZone(): Promise<DemoZone | undefined> {
  if (programPath('memcached') === undefined) return undefined;
  const servers = new AsyncDisposableStack();
  const started: Memcached[] = [];
  try {
    for (let count = 0; count < serverCount; count += 1) {
      started.push(servers.use(await startMemcached(serverSize)));
    }
  } catch (thrown) {
    await servers.disposeAsync();
    throw thrown;
  }
  const addresses = started.map(({ address }) => `memcached://${address.host}:${address.port}`);
  return {
    addresses,
    stopOne: () => {
      started[0]?.pause();
      return addresses[0] ?? '';
    },
    [Symbol.asyncDispose]: () => servers.disposeAsync(),
  };
}
