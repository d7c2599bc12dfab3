/**
 * Connections to a server inside a sandbox, made without a helper process: a socket belongs to the
 * network namespace that it was opened in, wherever it is used.
 */

import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import { SandboxConnectError, SystemCallError } from '../errors.ts';
import { connectToLoopback } from '../syscalls.ts';

const waitMaxMs = 20;

/**
 * Connects a socket that `openSocket` opens to 127.0.0.1:`port` of its namespace. Nearly always the
 * kernel has the answer at once, since both ends are its own; it has not while the server's queue
 * is full, and then is asked again. Rejects with `ERR_SANDBOX_CONNECT`.
 */
export async function connectLoopback(
  openSocket: () => number,
  port: number,
  timeoutMs: number,
): Promise<Socket> {
  const giveUpAt = performance.now() + timeoutMs;
  const fd = openSocket();
  try {
    for (
      let waitMs = 0;
      !connectToLoopback(fd, port);
      waitMs = Math.min(waitMs * 2 + 1, waitMaxMs)
    ) {
      if (performance.now() > giveUpAt) throw new SystemCallError('connect', 'ETIMEDOUT');
      if (waitMs > 0) await delay(waitMs);
    }
    return new Socket({ fd, readable: true, writable: true });
  } catch (thrown) {
    closeSync(fd);
    if (thrown instanceof SystemCallError) throw new SandboxConnectError(port, thrown.errno);
    throw thrown;
  }
}
