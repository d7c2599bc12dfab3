/** A thread that reads every chunk of a table as fast as it can and checks each byte, until told to stop. */

import { parentPort, workerData } from 'node:worker_threads';

import { SlabView, type SlabMemory } from '../memory/chunk-slab.ts';

export interface HammerData {
  readonly slab: SlabMemory;
  readonly entries: Int32Array;
  /** Set to 1 to stop. */
  readonly control: Int32Array;
}

export interface HammerReport {
  readonly reads: number;
  readonly wrong: number;
}

const { slab, entries, control } = workerData as HammerData;
const view = new SlabView(slab);
let reads = 0;
let wrong = 0;
for (let turn = 0; Atomics.load(control, 0) === 0; turn += 1) {
  const index = turn % entries.length;
  const slot = view.pin(entries, index);
  if (typeof slot !== 'number') continue;
  const bytes = view.bytes(slot, 0, slab.slotSizeBytes);
  if (!bytes.every((byte) => byte === index + 1)) wrong += 1;
  reads += 1;
  view.unpin(slot);
}
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
parentPort?.postMessage({ reads, wrong } satisfies HammerReport);
