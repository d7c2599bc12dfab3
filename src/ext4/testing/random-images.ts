/**
 * For tests: layers that nobody thought of, over few names, so that they meet: overwrite, delete, link and crowd each
 * other. Every kind of file, attribute, size and time that a disk can hold, its limits above all.
 */

import fc from 'fast-check';

import { byteString, byteStringFromBytes, errorCode, type ByteString } from '../../base/index.ts';
import { walkTree, type Metadata } from '../../rootfs/index.ts';
import { testImage, type EntryInWords, type TestImage } from './images.ts';

export type LayerInWords = readonly EntryInWords[];

/** Bytes but zero and slash; no dots in front, so that no name means `.`, `..` or a whiteout. */
function nameOf(minLength: number, maxLength: number): fc.Arbitrary<ByteString> {
  return fc
    .uint8Array({ minLength, maxLength })
    .map((bytes) => bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x5f : byte)))
    .map((bytes) => byteStringFromBytes(bytes).replace(/^\.+/, 'x') as ByteString);
}

const name = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('a', 'b', 'c', 'usr', 'lib') },
  { weight: 1, arbitrary: nameOf(1, 40) },
  { weight: 1, arbitrary: nameOf(255, 255) },
);
const path = fc
  .array(name, { minLength: 1, maxLength: 4 })
  .map((names) => names.join('/') as ByteString);

function record<Value extends object>(model: {
  [Key in keyof Value]: fc.Arbitrary<Value[Key]>;
}): fc.Arbitrary<Value> {
  return fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<Value>;
}

const ordinary = {
  path,
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
  gid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
  seconds: fc.integer({ min: 0, max: 9_000_000_000 }),
  nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
};

const permissions = fc.integer({ min: 0, max: 7 });
const id = fc.constantFrom(0, 1, 1000, 70_000, 4_000_000_000);

/** A valid access control list as `getxattr` gives it, its named entries in order. */
const acl = fc
  .tuple(
    fc.array(permissions, { minLength: 4, maxLength: 4 }),
    fc.uniqueArray(fc.tuple(id, permissions), { maxLength: 3, selector: ([id]) => id }),
    fc.uniqueArray(fc.tuple(id, permissions), {
      minLength: 1,
      maxLength: 3,
      selector: ([id]) => id,
    }),
  )
  .map(([[owner = 0, group = 0, mask = 0, other = 0], users, groups]) => {
    const anyone = 0xffffffff;
    const named = (tag: number, ids: readonly (readonly [number, number])[]) =>
      ids.toSorted(([a], [b]) => a - b).map(([id, bits]) => [tag, bits, id] as const);
    const entries = [
      [0x01, owner, anyone],
      ...named(0x02, users),
      [0x04, group, anyone],
      ...named(0x08, groups),
      [0x10, mask, anyone],
      [0x20, other, anyone],
    ] as const;
    const bytes = Buffer.alloc(4 + entries.length * 8);
    bytes.writeUInt32LE(2, 0);
    for (const [index, [tag, bits, id]] of entries.entries()) {
      bytes.writeUInt16LE(tag, 4 + index * 8);
      bytes.writeUInt16LE(bits, 6 + index * 8);
      bytes.writeUInt32LE(id, 8 + index * 8);
    }
    return bytes;
  });

const capability = fc
  .constantFrom(
    '0100000200040000000000000000000000000000',
    '010000030004000000000000000000000000000070110100', // of another user namespace
  )
  .map((hex) => Buffer.from(hex, 'hex'));

type Xattrs = NonNullable<EntryInWords['xattrs']>;

/** All that an inode may have, sometimes more than it holds itself, never more than a block besides. */
const xattrs: fc.Arbitrary<Xattrs> = fc
  .record(
    {
      'security.capability': capability,
      'system.posix_acl_access': acl,
      'system.posix_acl_default': acl,
      'user.empty': fc.constant(Buffer.alloc(0)),
      'user.long': fc.uint8Array({ maxLength: 2000 }),
      'user.é\u{10000}': fc.uint8Array({ maxLength: 20 }),
      [`user.${'n'.repeat(250)}`]: fc.uint8Array({ maxLength: 9 }),
      'user.a': fc.uint8Array({ maxLength: 60 }),
      'user.b': fc.uint8Array({ maxLength: 60 }),
      'user.c': fc.uint8Array({ maxLength: 60 }),
    },
    { requiredKeys: [], noNullPrototype: true },
  )
  .map((found) => found as Xattrs);
const fewXattrs = fc.oneof({ weight: 2, arbitrary: fc.constant<Xattrs>({}) }, xattrs);

const dataSize = fc.oneof(
  fc.constantFrom(0, 1, 4095, 4096, 4097, 262_143, 262_144, 262_145, 524_287, 524_288, 524_289),
  fc.integer({ min: 0, max: 40_000 }),
  fc.integer({ min: 0, max: 2_000_000 }),
);

/** A file of which only pieces are there: some end in the block where the next begins. */
const pieces = fc
  .tuple(
    fc.array(fc.tuple(fc.nat(30_000), fc.integer({ min: 1, max: 30_000 })), { maxLength: 12 }),
    fc.constantFrom(0, 1, 1, 1, 500),
    fc.nat(10_000),
  )
  .map(([gaps, repeats, tail]) => {
    let end = 0;
    const parts: (readonly [number, number])[] = [];
    for (let round = 0; round < repeats; round += 1) {
      for (const [gap, length] of gaps) {
        parts.push([end + gap, repeats > 1 ? Math.min(length, 100) : length]);
        end += gap + length;
      }
    }
    return { data: end + tail, parts };
  });

const entry: fc.Arbitrary<EntryInWords> = fc.oneof(
  { weight: 6, arbitrary: record({ ...ordinary, data: dataSize, xattrs: fewXattrs }) },
  {
    weight: 2,
    arbitrary: fc.tuple(record(ordinary), pieces).map(([plain, holed]) => ({ ...plain, ...holed })),
  },
  {
    weight: 5,
    arbitrary: record({ ...ordinary, type: fc.constant('directory' as const), xattrs: fewXattrs }),
  },
  {
    weight: 3,
    arbitrary: record({
      ...ordinary,
      type: fc.constant('symlink' as const),
      target: fc.oneof(
        fc.constantFrom('..', '/usr', '/', 'a/../b', 'x'.repeat(59), 'y'.repeat(60)),
        fc.stringMatching(/^[a-z/.]{1,200}$/),
      ),
    }),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(record(ordinary), path)
      .map(([plain, target]) => ({ ...plain, type: 'hardlink' as const, target })),
  },
  {
    weight: 2,
    arbitrary: record({
      ...ordinary,
      type: fc.constantFrom('character-device' as const, 'block-device' as const, 'fifo' as const),
      device: fc.tuple(fc.integer({ min: 0, max: 4095 }), fc.integer({ min: 0, max: 1_048_575 })),
    }),
  },
);

function marker(last: fc.Arbitrary<string>): fc.Arbitrary<EntryInWords> {
  return fc.tuple(fc.option(path, { nil: '' }), last).map(([directory, last]) => {
    return { path: (directory === '' ? last : `${directory}/${last}`) as ByteString };
  });
}

/** So many entries of one directory that it needs several blocks. */
const crowd: fc.Arbitrary<EntryInWords[]> = fc
  .record({
    directory: path,
    count: fc.integer({ min: 20, max: 900 }),
    nameBytes: fc.constantFrom(0, 10, 200),
    type: fc.constantFrom('file' as const, 'directory' as const, 'fifo' as const),
  })
  .map(({ directory, count, nameBytes, type }) =>
    Array.from({ length: count }, (_, index) => {
      const name = `${'é'.repeat(nameBytes)}${index}`;
      return { path: `${directory}/${name}` as ByteString, type };
    }),
  );

const few = (arbitrary: fc.Arbitrary<EntryInWords>): fc.Arbitrary<EntryInWords[]> =>
  fc.array(arbitrary, { minLength: 1, maxLength: 6 });

/** Later entries of a layer may replace earlier ones, and upper layers anything below. */
export const randomLayers: fc.Arbitrary<EntryInWords[][]> = fc.array(
  fc
    .array(
      fc.oneof(
        { weight: 12, arbitrary: few(entry) },
        { weight: 3, arbitrary: few(marker(name.map((name) => `.wh.${name}`.slice(0, 255)))) },
        { weight: 1, arbitrary: few(marker(fc.constant('.wh..wh..opq'))) },
        { weight: 1, arbitrary: crowd },
      ),
      { maxLength: 6 },
    )
    .map((parts) => parts.flat()),
  { maxLength: 5 },
);

/** Times that no tar's entry may keep, but a tree may have. */
const oddTimes: readonly Metadata['modified'][] = [
  { seconds: -1, nanoseconds: 1 },
  { seconds: -(2 ** 31), nanoseconds: 0 },
  { seconds: -(2 ** 31) - 1, nanoseconds: 5 },
  { seconds: 2 ** 31 - 1, nanoseconds: 999_999_999 },
  { seconds: 2 ** 31, nanoseconds: 0 },
  { seconds: 2 ** 32 - 1, nanoseconds: 0 },
  { seconds: 3 * 2 ** 32 - 2 ** 31 - 1, nanoseconds: 0 },
  { seconds: 3 * 2 ** 32 - 2 ** 31, nanoseconds: 7 },
  { seconds: 10 ** 12, nanoseconds: 0 },
];

/**
 * The image of those entries that make a tree: layers in which, say, a file is to lie below a file are the business of
 * `rootfs`. Some nodes get what only a tree can have.
 */
export async function randomImage(layers: readonly LayerInWords[]): Promise<TestImage> {
  const image = await testImage(await withoutRefused(layers));
  let count = 0;
  for (const { node } of walkTree(image.tree.root)) {
    const time = oddTimes[count % 40];
    const odd = { xattrs: node.metadata.xattrs, modified: time ?? node.metadata.modified };
    if (count % 7 === 0) {
      const trusted = [byteString('trusted.é'), Buffer.from([count & 0xff])] as const;
      const all = [...odd.xattrs, trusted].sort(([a], [b]) => (a < b ? -1 : 1));
      odd.xattrs = new Map(all);
    }
    Object.assign(node, { metadata: { ...node.metadata, ...odd } });
    count += 1;
  }
  return image;
}

/** By halves: most of a layer is mostly fine. */
async function withoutRefused(layers: readonly LayerInWords[]): Promise<LayerInWords[]> {
  const kept: EntryInWords[][] = [];
  for (const layer of layers) {
    const keptOfLayer: EntryInWords[] = [];
    kept.push(keptOfLayer);
    const keep = async (entries: LayerInWords): Promise<void> => {
      if (entries.length === 0) return;
      const before = keptOfLayer.length;
      keptOfLayer.push(...entries);
      if (await isTaken(kept)) return;
      keptOfLayer.length = before;
      if (entries.length === 1) return;
      const half = Math.ceil(entries.length / 2);
      await keep(entries.slice(0, half));
      await keep(entries.slice(half));
    };
    await keep(layer);
  }
  return kept;
}

async function isTaken(layers: readonly LayerInWords[]): Promise<boolean> {
  try {
    await testImage(layers);
    return true;
  } catch (thrown) {
    if (!errorCode(thrown)?.startsWith('ERR_ROOTFS_')) throw thrown;
    return false;
  }
}
