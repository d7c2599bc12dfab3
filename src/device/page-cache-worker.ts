/**
 * A thread that puts fetched chunks into the kernel's page cache (FUSE_NOTIFY_STORE), so that the reads that follow the
 * first one into a chunk never reach us. It also drops a closed image's pages.
 *
 * It must never answer a request: a store waits for page locks that a READ under way holds, so a thread that did both
 * could wait for itself. For the same reason nothing may wait for this thread.
 */

import { parentPort, workerData } from 'node:worker_threads';

import { present } from '../base/index.ts';
import { SlabView, type SlabMemory } from '../cache/index.ts';
import { notify } from './fuse-channel.ts';
import { FuseNotify, FuseNotifyInvalInodeOut, FuseNotifyStoreOut } from './fuse-protocol.ts';

export interface PageCacheWorkerData {
  readonly fuseFd: number;
  readonly slab: SlabMemory;
}

/** `slot` was pinned by the sender; it is unpinned here. The answer to each message is `'done'`. */
export type PageCacheOrder =
  | {
      readonly kind: 'store';
      readonly nodeId: number;
      readonly offset: number;
      readonly slot: number;
      readonly sizeBytes: number;
    }
  | { readonly kind: 'drop'; readonly nodeId: number };

const { fuseFd, slab } = workerData as PageCacheWorkerData;
const view = new SlabView(slab);
const port = present(parentPort, "the worker's port");

function carryOut(order: PageCacheOrder): void {
  if (order.kind === 'drop') {
    const what = FuseNotifyInvalInodeOut.encode({ ino: BigInt(order.nodeId), off: 0n, len: 0n });
    notify(fuseFd, FuseNotify.FUSE_NOTIFY_INVAL_INODE, [what]);
    return;
  }
  try {
    const where = FuseNotifyStoreOut.encode({
      nodeid: BigInt(order.nodeId),
      offset: BigInt(order.offset),
      size: order.sizeBytes,
    });
    const bytes = view.bytes(order.slot, 0, order.sizeBytes);
    notify(fuseFd, FuseNotify.FUSE_NOTIFY_STORE, [where, bytes]);
  } finally {
    view.unpin(order.slot);
  }
}

port.on('message', (order: PageCacheOrder) => {
  carryOut(order);
  port.postMessage('done');
});
