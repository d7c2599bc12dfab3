/**
 * A network namespace that holds loopback and nothing else, with a socket listening inside it.
 *
 * Made in this process without a helper: the thread enters a new namespace, opens the socket, and
 * returns, all in one synchronous stretch in which no other JavaScript runs. The namespace has no
 * name in any directory: an open descriptor, and later the sandbox's processes, keep it alive, so
 * that a killed worker leaves nothing.
 */

import { closeSync, openSync } from 'node:fs';

import { present } from '../../base/index.ts';
import {
  bringLoopbackUp,
  CLONE_NEWNET,
  listenOnLoopback,
  returnTo,
  setns,
  unshare,
} from '../syscalls.ts';

export interface NetworkNamespace {
  /** An open descriptor of the namespace, until `close`. */
  readonly fd: number;
  /** Names the namespace for other processes of root, as long as this process has not closed it. */
  readonly path: string;
  /** Once: a TCP socket listening on 127.0.0.1 inside the namespace; whoever serves it closes it. */
  takeListener(): number;
  /** Does `work`, which must be synchronous, in the namespace: what it opens belongs there. */
  within<T>(work: () => T): T;
  /** Ends the namespace, when nothing in it runs any more, and the listener if it was not taken. */
  close(): void;
}

/**
 * Creates the namespace, sets its loopback up and listens on `port` there. Throws
 * `ERR_SANDBOX_SYSTEM_CALL`.
 */
export function createNetworkNamespace(port: number): NetworkNamespace {
  let namespaceFd: number | undefined;
  let listenFd: number | undefined;
  try {
    elsewhere(
      () => unshare(CLONE_NEWNET),
      () => {
        namespaceFd = openSync('/proc/thread-self/ns/net', 'r');
        listenFd = listenOnLoopback(port);
        bringLoopbackUp(listenFd);
      },
    );
  } catch (thrown) {
    if (listenFd !== undefined) closeSync(listenFd);
    if (namespaceFd !== undefined) closeSync(namespaceFd);
    throw thrown;
  }
  const fd = present(namespaceFd, 'namespace');
  let untakenFd: number | undefined = present(listenFd, 'listener');
  const takeListener = (): number => {
    const taken = present(untakenFd, 'listener that was not taken');
    untakenFd = undefined;
    return taken;
  };
  return {
    fd,
    path: `/proc/${process.pid}/fd/${fd}`,
    takeListener,
    within: (work) => elsewhere(() => setns(fd, CLONE_NEWNET), work),
    close: () => {
      if (untakenFd !== undefined) closeSync(takeListener());
      closeSync(fd);
    },
  };
}

/** Leaves this thread's network namespace by `leave`, does `work` and comes back. */
function elsewhere<T>(leave: () => void, work: () => T): T {
  const ownFd = openSync('/proc/thread-self/ns/net', 'r');
  try {
    leave();
    try {
      return work();
    } finally {
      returnTo(ownFd, CLONE_NEWNET);
    }
  } finally {
    closeSync(ownFd);
  }
}
