import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { RequestBuffer } from './fuse-channel.ts';
import { FuseInHeader, FuseOpcode, FuseReadIn } from './fuse-protocol.ts';

const offsets = fc.bigInt(0n, BigInt(Number.MAX_SAFE_INTEGER));
const uniques = fc.bigInt(0n, 2n ** 64n - 1n);
const u32 = fc.nat(2 ** 32 - 1);

function readRequestBytes(unique: bigint, nodeid: bigint, offset: bigint, size: number): Buffer {
  const len = FuseInHeader.sizeBytes + FuseReadIn.sizeBytes;
  const head = { len, opcode: FuseOpcode.FUSE_READ, unique, nodeid, uid: 0, gid: 0, pid: 1 };
  return Buffer.concat([
    FuseInHeader.encode({ ...head, total_extlen: 0 }),
    FuseReadIn.encode({ fh: 0n, offset, size, read_flags: 0, lock_owner: 0n, flags: 0 }),
  ]);
}

test('RequestBuffer finds the fields of a READ where the tables of the protocol put them', () => {
  const buffer = new RequestBuffer();
  fc.assert(
    fc.property(uniques, offsets, offsets, u32, (unique, nodeid, offset, size) => {
      const bytes = readRequestBytes(unique, nodeid, offset, size);
      buffer.bytes.set(bytes);
      const head = buffer.head(bytes.byteLength);
      assert.ok(head !== undefined);
      assert.equal((BigInt(head.uniqueHigh) << 32n) | BigInt(head.uniqueLow), unique);
      assert.equal(head.opcode, FuseOpcode.FUSE_READ);
      assert.equal(BigInt(head.nodeId), nodeid);
      assert.deepEqual(buffer.read(head), { offset: Number(offset), size });
    }),
  );
});

test('RequestBuffer takes nothing cut short or mislabelled for a request', () => {
  const buffer = new RequestBuffer();
  const bytes = readRequestBytes(1n, 2n, 0n, 4096);
  buffer.bytes.set(bytes);
  for (let length = 0; length < bytes.byteLength; length += 1) {
    assert.equal(buffer.head(length), undefined);
  }
  const short = FuseInHeader.encode({ ...FuseInHeader.decode(bytes), len: 40 });
  buffer.bytes.set(short);
  const head = buffer.head(40);
  assert.ok(head !== undefined);
  assert.equal(buffer.read(head), undefined);
});
