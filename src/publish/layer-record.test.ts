import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import fc from 'fast-check';

import { byteStringFromBytes, type ByteString } from '../base/index.ts';
import type { TarEntry, TarEntryType } from '../oci/index.ts';
import type { EncryptionContext, KeyService } from '../keys/index.ts';
import { CompactReader, CompactWriter } from './compact-bytes.ts';
import {
  layerRecordHeader,
  layerRecordName,
  openLayerRecord,
  sealLayerRecord,
} from './layer-record-seal.ts';
import { decodeLayerRecord, LayerRecorder, type StoredChunk } from './layer-record.ts';

const byteStrings = fc.uint8Array({ maxLength: 300 }).map(byteStringFromBytes);
const sizes = fc.oneof(fc.nat(5000), fc.maxSafeNat());

function entries(): fc.Arbitrary<TarEntry> {
  const types: TarEntryType[] = [
    'file',
    'hardlink',
    'symlink',
    'directory',
    'block-device',
    'fifo',
  ];
  const segment = fc.record(
    { fileOffset: sizes, tarOffset: sizes, lengthBytes: sizes },
    { noNullPrototype: true },
  );
  return fc
    .record(
      {
        path: byteStrings,
        type: fc.constantFrom(...types),
        mode: fc.nat(0o7777),
        uid: fc.nat(2 ** 32 - 1),
        gid: fc.nat(2 ** 32 - 1),
        modified: fc.record(
          {
            seconds: fc.integer({ min: -(2 ** 31), max: 2 ** 31 }),
            nanoseconds: fc.nat(999_999_999),
          },
          { noNullPrototype: true },
        ),
        linkTarget: byteStrings,
        sizeBytes: sizes,
        segments: fc.array(segment, { maxLength: 4 }),
        deviceMajor: fc.nat(4095),
        deviceMinor: fc.nat(1_048_575),
        xattrs: fc
          .array(fc.tuple(byteStrings, fc.uint8Array({ maxLength: 40 })), { maxLength: 3 })
          .map((pairs) => new Map(pairs)),
      },
      { noNullPrototype: true },
    )
    .map(asScanned);
}

/** What a scanner says of an entry of this type. */
function asScanned(entry: TarEntry): TarEntry {
  const isLink = entry.type === 'hardlink' || entry.type === 'symlink';
  const isFile = entry.type === 'file';
  const isDevice = entry.type === 'block-device';
  return {
    ...entry,
    linkTarget: isLink ? entry.linkTarget : ('' as ByteString),
    sizeBytes: isFile ? entry.sizeBytes : 0,
    segments: isFile ? entry.segments : [],
    deviceMajor: isDevice ? entry.deviceMajor : 0,
    deviceMinor: isDevice ? entry.deviceMinor : 0,
  };
}

async function* each<Item>(items: readonly Item[]): AsyncGenerator<Item> {
  yield* items;
}

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = [];
  for await (const item of items) list.push(item);
  return list;
}

async function recordOf(list: readonly TarEntry[]): Promise<Buffer> {
  const recorder = new LayerRecorder();
  await all(recorder.entries(each(list)));
  return Buffer.concat((await recorder.finish()) ?? []);
}

test('a layer record gives its entries back as they were', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(entries(), { maxLength: 30 }), async (list) => {
      assert.deepEqual(await all((await decodeLayerRecord(await recordOf(list))).entries()), list);
    }),
  );
});

const entry: TarEntry = {
  path: 'usr/share/doc/some-package/changelog.gz' as ByteString,
  type: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  modified: { seconds: 1_700_000_000, nanoseconds: 0 },
  linkTarget: '' as ByteString,
  sizeBytes: 4321,
  segments: [{ fileOffset: 0, tarOffset: 512, lengthBytes: 4321 }],
  deviceMajor: 0,
  deviceMinor: 0,
  xattrs: new Map(),
};

test('a layer record of many entries is small and comes back in order', async () => {
  const list = Array.from({ length: 20_000 }, (_, index) => ({
    ...entry,
    path: `usr/share/doc/package-${index}/changelog.gz` as ByteString,
    segments: [{ fileOffset: 0, tarOffset: index * 5632, lengthBytes: 4321 }],
  }));
  const bytes = await recordOf(list);
  assert.ok(bytes.byteLength < 20 * list.length, `${bytes.byteLength} bytes`);
  let index = 0;
  for await (const found of (await decodeLayerRecord(bytes)).entries()) {
    assert.deepEqual(found, list[index]);
    index += 1;
  }
  assert.equal(index, list.length);
});

const stored: StoredChunk = {
  storedLengthBytes: 4096,
  codec: 'none',
  ciphertextDigest: new Uint8Array(32).fill(1),
  key: new Uint8Array(32).fill(2),
};

test('a layer record keeps chunks by recipe, and a bounded amount of data', async () => {
  const recorder = new LayerRecorder();
  await all(recorder.entries(each([entry])));
  recorder.addChunk('ab'.repeat(32), stored);
  recorder.addChunk('cd'.repeat(32), 'zeros');
  recorder.kept.add(2 ** 40, Buffer.from('far'));
  recorder.kept.add(1024, Buffer.from('kept'));
  recorder.kept.add(2 ** 20, new Uint8Array(32 * 2 ** 20));
  const record = await decodeLayerRecord(Buffer.concat((await recorder.finish()) ?? []));
  assert.deepEqual(
    [...record.data.chunks],
    [
      ['ab'.repeat(32), stored],
      ['cd'.repeat(32), 'zeros'],
    ],
  );
  const target = Buffer.alloc(3);
  const kept = (tarOffset: number): string | undefined =>
    record.data.kept.fill(tarOffset, target) ? target.toString() : undefined;
  assert.deepEqual([1024, 1025, 2 ** 40].map(kept), ['kep', 'ept', 'far']);
  for (const tarOffset of [0, 1023, 1026, 2 ** 20, 2 ** 40 + 1]) {
    assert.equal(kept(tarOffset), undefined);
  }
});

test('there is no record of a layer that was not read to its end', async () => {
  const recorder = new LayerRecorder();
  for await (const _first of recorder.entries(each([entry, entry]))) break;
  assert.equal(await recorder.finish(), undefined);
});

test('bytes that are no layer record, or the start of one, are refused', async () => {
  const bytes = await recordOf([entry]);
  const framesAt = (await recordOf([])).byteLength;
  const read = async (given: Uint8Array): Promise<void> =>
    void (await all((await decodeLayerRecord(given)).entries()));
  for (let length = 0; length < bytes.byteLength; length += 1) {
    if (length === framesAt) continue; // a whole record of no entries
    await assert.rejects(read(bytes.subarray(0, length)), { code: 'ERR_PUBLISH_LAYER_RECORD' });
  }
  await assert.rejects(read(Buffer.alloc(9, 0xff)), { code: 'ERR_PUBLISH_LAYER_RECORD' });
});

test('numbers of all sizes come back, and strings of all bytes', () => {
  const values = [0, 1, 127, 128, 16_384, 2 ** 31, 2 ** 32, 2 ** 40 + 3, Number.MAX_SAFE_INTEGER];
  const text = byteStringFromBytes(Uint8Array.from({ length: 256 }, (_, index) => index));
  const writer = new CompactWriter();
  for (const value of values) writer.number(value);
  for (let times = 0; times < 40; times += 1) writer.string(text);
  const reader = new CompactReader(writer.take());
  for (const value of values) assert.equal(reader.number(), value);
  for (let times = 0; times < 40; times += 1) assert.equal(reader.string(), text);
  assert.ok(reader.isAtEnd);
});

/** Wraps nothing and refuses nothing, so that what is tested is the record's own seal. */
const openKeys: KeyService = {
  generateDataKey: async (_tenant: string, _context: EncryptionContext) => ({
    plaintext: new Uint8Array(32).fill(7),
    wrapped: new Uint8Array(5),
  }),
  unwrapDataKey: async () => new Uint8Array(32).fill(7),
  salt: async () => new Uint8Array(32),
};

const identity = {
  tenant: 'ours',
  rootId: 'root',
  blobDigest: 'sha256:01',
  diffId: 'sha256:02',
  diskFormatVersion: 1,
  chunkSizeBytes: 524_288,
  codec: 'none',
};

test('a sealed layer record opens only as what it is, with every bit as it was', async () => {
  const parts = [Buffer.from('one'), Buffer.from('two')];
  const bytes = await sealLayerRecord(parts, identity, openKeys);
  const opened = await openLayerRecord(bytes, identity, openKeys);
  assert.equal(Buffer.from(opened).toString(), 'onetwo');
  for (let at = 0; at < bytes.byteLength; at += 1) {
    const changed = Uint8Array.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    const opening = openLayerRecord(changed, identity, openKeys);
    await assert.rejects(opening, { code: 'ERR_PUBLISH_LAYER_RECORD' }, `byte ${at}`);
    const cut = openLayerRecord(bytes.subarray(0, at), identity, openKeys);
    await assert.rejects(cut, { code: 'ERR_PUBLISH_LAYER_RECORD' }, `cut at ${at}`);
  }
});

test('no part of what a layer record depends on may be another', async () => {
  const bytes = await sealLayerRecord([Buffer.from('it')], identity, openKeys);
  const salt = Buffer.alloc(32);
  for (const field of Object.keys(identity) as (keyof typeof identity)[]) {
    const value = identity[field];
    const other = { ...identity, [field]: typeof value === 'number' ? value + 1 : `${value}0` };
    const opening = openLayerRecord(bytes, other, openKeys);
    await assert.rejects(opening, { code: 'ERR_PUBLISH_LAYER_RECORD' }, field);
    assert.notEqual(layerRecordName(other, salt), layerRecordName(identity, salt));
  }
  assert.notEqual(layerRecordName(identity, Buffer.alloc(32, 1)), layerRecordName(identity, salt));
});

test('docs/formats/layer-record.md has the rows of the header', async () => {
  const path = join(import.meta.dirname, '../../docs/formats/layer-record.md');
  const document = await readFile(path, 'utf8');
  const rows = [...document.matchAll(/^\| (0x[0-9a-f]+) \| (\w+) \| `(\w+)` \|/gm)];
  assert.deepEqual(
    rows.map(([, offset, type, field]) => [Number(offset), type, field]),
    [...layerRecordHeader.rows],
  );
});
