/**
 * A lock that processes of this machine share through a file, held by the kernel: whoever dies with
 * it gives it back. Node has no flock(2), so the program `flock` of util-linux (or busybox) holds
 * it, for as long as this end of its pipe is open. For rare work: it costs a process.
 */

import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';

import { CommandMissingError, errorCode } from '../base/index.ts';

/**
 * Beyond any honest holder's work, so that one that is stopped does not stop everybody for ever.
 */
const defaultWaitTimeoutMs = 30_000;

/** Resolves when `cat`, which runs under the lock only, answers. */
async function waitUntilHeld(
  holder: ChildProcessWithoutNullStreams,
  path: string,
  waitTimeoutMs: number,
): Promise<void> {
  const timeout = AbortSignal.timeout(waitTimeoutMs);
  const ended = once(holder, 'close').then(() => 'ended' as const);
  const answered = once(holder.stdout, 'data', { signal: timeout }).then(() => 'held' as const);
  holder.stdin.write('\n');
  const outcome = await Promise.race([answered, ended]).catch((thrown: unknown) => {
    if (errorCode(thrown) === 'ENOENT') throw new CommandMissingError('flock', thrown);
    if (timeout.aborted) throw new Error(`"${path}" stayed locked for ${waitTimeoutMs} ms`);
    throw thrown;
  });
  if (outcome === 'ended') throw new Error(`flock could not lock "${path}"`);
}

/**
 * Runs `work` while no other process and no other call is within `withFileLock` for the same path.
 * The file is made if absent, and stays. Throws `ERR_COMMAND_MISSING` where `flock` is not
 * installed, and after 30 s of waiting.
 */
export async function withFileLock<T>(
  path: string,
  work: () => Promise<T>,
  waitTimeoutMs: number = defaultWaitTimeoutMs,
): Promise<T> {
  const holder = spawn('flock', [path, 'cat'], { detached: true }); // out of Ctrl-C's way
  holder.stdin.on('error', () => {}); // it ended, which is told by other means
  const closed = once(holder, 'close').catch(() => {});
  try {
    await waitUntilHeld(holder, path, waitTimeoutMs).catch((thrown: unknown) => {
      holder.kill(); // it waits, and does not see the end of its input
      throw thrown;
    });
    return await work();
  } finally {
    holder.stdin.end();
    await closed;
  }
}
