import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';

import fc from 'fast-check';

import { namedChunk, type NamedChunk } from '../testing/cache-tier-conformance.ts';
import { WaitingChunks, type WaitingChunk } from './waiting-chunks.ts';

const blockBytes = 4096;

function keep(waiting: WaitingChunks, { name, ciphertext }: NamedChunk): WaitingChunk | undefined {
  return waiting.keep(name, ciphertext);
}

function assertRight({ name }: NamedChunk, { bytes }: WaitingChunk): void {
  assert.deepEqual(hash('sha256', bytes, 'buffer'), Buffer.from(name.ciphertextDigest));
}

test('what is kept is what was given, whatever becomes of the array, as long as one keeps it and within the memory', () => {
  const bytesMax = 16 * blockBytes;
  const chunks = Array.from({ length: 8 }, (_, seed) => namedChunk(seed, (1 + seed) * blockBytes));
  const step = fc.record({ chunk: fc.nat(7), isKept: fc.boolean() }, { noNullPrototype: true });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const waiting = new WaitingChunks({ bytesMax });
      const keepers = new Map(chunks.map((chunk) => [chunk, [] as WaitingChunk[]]));
      for (const { chunk: index, isKept } of steps) {
        const chunk = chunks[index] as NamedChunk;
        const own = keepers.get(chunk) ?? [];
        if (isKept) {
          const given = Uint8Array.from(chunk.ciphertext);
          const kept = waiting.keep(chunk.name, given);
          given.fill(0);
          if (kept !== undefined) own.push(kept);
          else assert.equal(own.length, 0); // what is here already needs no room
        } else {
          own.shift()?.done();
        }
        const held = [...keepers].filter(([, kept]) => kept.length > 0);
        const heldBytes = held.reduce((sum, [{ ciphertext }]) => sum + ciphertext.byteLength, 0);
        assert.equal(waiting.bytes, heldBytes);
        assert.ok(heldBytes <= bytesMax);
        for (const [heldChunk, kept] of held) {
          for (const one of kept) assertRight(heldChunk, one);
        }
      }
      for (const kept of [...keepers.values()].flat()) kept.done();
      assert.ok(keep(waiting, namedChunk(9, bytesMax)) !== undefined); // all of it in one piece
    }),
  );
});

test('who is done can neither read the chunk nor give it back again', () => {
  const waiting = new WaitingChunks({ bytesMax: 4 * blockBytes });
  const chunk = namedChunk(1, blockBytes);
  const [first, second] = [keep(waiting, chunk), keep(waiting, chunk)];
  assert.ok(first !== undefined && second !== undefined);
  first.done();
  assert.throws(() => first.bytes, { code: 'ERR_INTERNAL' });
  assert.throws(() => first.done(), { code: 'ERR_INTERNAL' });
  assertRight(chunk, second);
});

test('a chunk that is longer than what is free is not kept', () => {
  const waiting = new WaitingChunks({ bytesMax: 4 * blockBytes });
  assert.equal(keep(waiting, namedChunk(1, 5 * blockBytes)), undefined);
  const kept = keep(waiting, namedChunk(2, 3 * blockBytes));
  assert.equal(keep(waiting, namedChunk(3, 2 * blockBytes)), undefined);
  kept?.done();
  assert.ok(keep(waiting, namedChunk(3, 2 * blockBytes)) !== undefined);
});

test('memory that waits is not what V8 counts', () => {
  const waiting = new WaitingChunks({ bytesMax: 64 * blockBytes });
  const kept = keep(waiting, namedChunk(1, blockBytes));
  assert.ok(kept?.bytes.buffer instanceof SharedArrayBuffer);
});
