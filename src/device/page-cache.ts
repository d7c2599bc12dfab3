/**
 * Hands chunks to the thread that fills the kernel's page cache. Only an optimisation: when the thread is behind,
 * chunks are left out rather than queued, since each queued one pins a slot of the slab.
 */

import { Worker } from 'node:worker_threads';

import { neighbourModule, type Log } from '../base/index.ts';
import { SlabView, type SlabMemory } from '../cache/index.ts';
import type { PageCacheOrder, PageCacheWorkerData } from './page-cache-worker.ts';

export interface PageCacheOptions {
  readonly fuseFd: number;
  readonly slab: SlabMemory;
  readonly log: Log;
}

export type StoreOrder = Omit<Extract<PageCacheOrder, { kind: 'store' }>, 'kind'>;

/** Stores under way or waiting, at most: 8 MiB of 512 KiB chunks. */
const storesMax = 16;

export class PageCache {
  readonly #worker: Worker;
  readonly #view: SlabView;
  /** Orders not yet carried out, oldest first; the thread answers them in order. */
  readonly #orders: PageCacheOrder[] = [];

  constructor({ fuseFd, slab, log }: PageCacheOptions) {
    const workerData: PageCacheWorkerData = { fuseFd, slab };
    this.#view = new SlabView(slab);
    this.#worker = new Worker(neighbourModule(import.meta.url, 'page-cache-worker'), {
      workerData,
      name: 'thaw-pages',
    });
    this.#worker.on('message', () => this.#orders.shift());
    this.#worker.on('error', (thrown) => {
      // The slots that it pinned stay pinned: the agent is no longer sound.
      log.error('the page cache thread failed', { reason: thrown.message });
      process.kill(process.pid, 'SIGKILL');
    });
    this.#worker.unref();
  }

  /** Takes over the caller's pin on `order.slot`. */
  store(order: StoreOrder): void {
    const isKnown = this.#orders.some(
      (known) =>
        known.kind === 'store' && known.nodeId === order.nodeId && known.offset === order.offset,
    );
    if (isKnown || this.#orders.length >= storesMax) {
      this.#view.unpin(order.slot);
      return;
    }
    this.#send({ kind: 'store', ...order });
  }

  /** Lets the kernel forget every page of a file. */
  drop(nodeId: number): void {
    this.#send({ kind: 'drop', nodeId });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #send(order: PageCacheOrder): void {
    this.#orders.push(order);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.#worker.postMessage(order);
  }
}
