import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';

import fc from 'fast-check';

import { neighbourModule } from '../../base/index.ts';
import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { ChunkSlab, SlabView } from './chunk-slab.ts';
import type { HammerData, HammerReport } from '../testing/slab-hammer.ts';

const slotSizeBytes = 4096;

function filled(value: number, sizeBytes = slotSizeBytes): Uint8Array {
  return new Uint8Array(sizeBytes).fill(value);
}

test('a view finds what was published to its table, and zeros where the image has them', () => {
  const slab = new ChunkSlab({ memoryBytes: 2 * slotSizeBytes, slotSizeBytes });
  const view = new SlabView(slab.memory);
  const table = slab.createTable(3, [0, 1]);
  const stranger = slab.createTable(3, [0, 1, 2]);
  assert.equal(slab.insert('a', filled(7, 100)), true);
  assert.equal(view.pin(table.entries, 1), undefined);
  assert.equal(slab.publish(table, 1, 'a'), true);
  const slot = view.pin(table.entries, 1);
  assert.ok(typeof slot === 'number');
  assert.deepEqual(view.bytes(slot, 99, 101), Uint8Array.of(7, 0));
  assert.equal(view.pin(table.entries, 2), 'zero');
  assert.equal(view.pin(stranger.entries, 1), undefined);
});

test('a pinned slot is never overwritten, and with all pinned nothing more is kept', () => {
  const slab = new ChunkSlab({ memoryBytes: 2 * slotSizeBytes, slotSizeBytes });
  const view = new SlabView(slab.memory);
  const table = slab.createTable(4, [0, 1, 2, 3]);
  for (const [index, identity] of ['a', 'b'].entries()) {
    slab.insert(identity, filled(index + 1));
    slab.publish(table, index, identity);
  }
  const slots = [view.pin(table.entries, 0), view.pin(table.entries, 1)] as [number, number];
  assert.equal(slab.insert('c', filled(3)), false);
  assert.equal(slab.status.refused, 1);
  for (const [index, slot] of slots.entries()) {
    assert.equal(view.bytes(slot, 0, 1)[0], index + 1);
    assert.equal(slab.publish(table, index, index === 0 ? 'a' : 'b'), true);
  }
  view.unpin(slots[1]);
  assert.equal(slab.insert('c', filled(3)), true);
  assert.equal(view.bytes(slots[0], 0, 1)[0], 1);
});

test('a sweep of chunks read once leaves those that threads read now and then, however fast it is', async () => {
  const time = new VirtualTime();
  const slab = new ChunkSlab({ memoryBytes: 20 * slotSizeBytes, slotSizeBytes, clock: time });
  const view = new SlabView(slab.memory);
  const table = slab.createTable(1000, Array(1000).keys());
  const load = (index: number): void => {
    assert.equal(slab.insert(String(index), filled(1)), true);
    slab.publish(table, index, String(index));
  };
  const read = (index: number): void => {
    const slot = view.pin(table.entries, index);
    assert.equal(typeof slot, 'number', `chunk ${index} is there`);
    view.unpin(slot as number);
  };
  const hot = Array.from({ length: 10 }, (_, index) => index);
  hot.forEach(load);
  for (const minute of [1, 2, 3]) {
    await time.pass(60_000);
    hot.forEach(read);
    if (minute < 3) slab.noteReads(); // the last reads are noted when it comes to evicting
  }
  for (let index = 100; index < 1000; index += 1) load(index);
  hot.forEach(read);
  assert.equal(slab.status.evictions, 890);
});

test('a read that was not taken note of yet counts when it comes to evicting', async () => {
  const time = new VirtualTime();
  const slab = new ChunkSlab({ memoryBytes: 2 * slotSizeBytes, slotSizeBytes, clock: time });
  const view = new SlabView(slab.memory);
  const table = slab.createTable(2, [0, 1]);
  for (const [index, identity] of ['older', 'newer'].entries()) {
    slab.insert(identity, filled(index + 1));
    slab.publish(table, index, identity);
    await time.pass(60_000);
  }
  const slot = view.pin(table.entries, 0);
  assert.ok(typeof slot === 'number');
  view.unpin(slot);
  await time.pass(60_000);
  slab.insert('newest', filled(3));
  assert.equal(view.pin(table.entries, 0), slot);
  assert.equal(view.pin(table.entries, 1), undefined);
});

test('dropTable and clear make readers miss, and give the slots back', () => {
  const slab = new ChunkSlab({ memoryBytes: 2 * slotSizeBytes, slotSizeBytes });
  const view = new SlabView(slab.memory);
  const table = slab.createTable(2, [0]);
  const other = slab.createTable(2, [0, 1]);
  slab.insert('a', filled(1));
  slab.publish(table, 0, 'a');
  slab.publish(other, 0, 'a');
  slab.dropTable(table);
  assert.equal(view.pin(table.entries, 0), undefined);
  assert.equal(typeof view.pin(other.entries, 0), 'number');
  slab.clear();
  assert.equal(view.pin(other.entries, 0), undefined);
  assert.equal(slab.status.chunks, 0);
});

test('against a model: a reader finds the right bytes or nothing, within the slots there are', () => {
  const identities = fc.integer({ min: 0, max: 9 });
  const steps = fc.array(
    fc.oneof(
      fc.record({ kind: fc.constant('insert'), id: identities }, { noNullPrototype: true }),
      fc.record({ kind: fc.constant('publish'), id: identities }, { noNullPrototype: true }),
      fc.record({ kind: fc.constant('read'), id: identities }, { noNullPrototype: true }),
      fc.record({ kind: fc.constant('hold'), id: identities }, { noNullPrototype: true }),
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 4 }), (program, slotCount) => {
      const slab = new ChunkSlab({ memoryBytes: slotCount * slotSizeBytes, slotSizeBytes });
      const view = new SlabView(slab.memory);
      const table = slab.createTable(10, Array(10).keys());
      const held: [slot: number, id: number][] = [];
      for (const { kind, id } of program) {
        if (kind === 'insert') slab.insert(String(id), filled(id + 1));
        else if (kind === 'publish') slab.publish(table, id, String(id));
        else {
          const slot = view.pin(table.entries, id);
          if (typeof slot !== 'number') continue;
          assert.equal(view.bytes(slot, 0, 1)[0], id + 1);
          if (kind === 'hold') held.push([slot, id]);
          else view.unpin(slot);
        }
        for (const [slot, id] of held) assert.equal(view.bytes(slot, 0, 1)[0], id + 1);
        assert.ok(slab.status.chunks <= slotCount);
      }
    }),
  );
});

test('threads that read while the owner evicts never see a byte of another chunk', async () => {
  const chunkCount = 12;
  const slab = new ChunkSlab({ memoryBytes: 4 * slotSizeBytes, slotSizeBytes });
  const table = slab.createTable(chunkCount, Array(chunkCount).keys());
  const control = new Int32Array(new SharedArrayBuffer(4));
  const workerData: HammerData = { slab: slab.memory, entries: table.entries, control };
  const reports = Array.from({ length: 2 }, async () => {
    const worker = new Worker(neighbourModule(import.meta.url, '../testing/slab-hammer'), {
      workerData,
    });
    return new Promise<HammerReport>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  });
  for (let turn = 0; slab.status.evictions < 50_000; turn += 1) {
    // A chunk's every byte is its index plus 1, so that a reader can tell.
    const index = (turn * 7) % chunkCount;
    if (slab.insert(String(index), filled(index + 1))) slab.publish(table, index, String(index));
    // Readers hold a slot now and then; none for long.
    if (turn % 64 === 0) await new Promise(setImmediate);
  }
  Atomics.store(control, 0, 1);
  for (const { reads, wrong } of await Promise.all(reports)) {
    assert.equal(wrong, 0);
    assert.ok(reads > 0);
  }
});
