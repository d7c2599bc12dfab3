/** Waiting for a server over real sockets in virtual time: what sockets bring about takes none. */

import { setImmediate as nextTurn } from 'node:timers/promises';

import type { VirtualTime } from '../../base/testing/virtual-time.ts';
import type { ZoneServer } from '../zone/zone-server.ts';

/** Waits for what sockets bring about. */
export async function eventually(condition: () => boolean): Promise<void> {
  while (!condition()) await nextTurn();
}

/**
 * Lets time pass until a server that is down, but would answer, is up; it stands still while a probe is on its way, however busy the
 * machine is. Returns how long it took, in milliseconds.
 */
export async function recovers(server: ZoneServer, time: VirtualTime): Promise<number> {
  const startedMs = time.monotonicMs();
  while (server.state === 'down') {
    if (server.status().outstanding > 0) await nextTurn();
    else await time.pass(10);
  }
  return time.monotonicMs() - startedMs;
}
