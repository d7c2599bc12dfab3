/** Trees that nobody thought of: e2fsck, and a reader that knows nothing of the writer, must find them as they are. */

import { test } from 'node:test';

import fc from 'fast-check';

import { byteStringFromBytes, errorCode, type ByteString } from '../base/index.ts';
import { testImage, type EntryInWords } from './testing/images.ts';
import { expectReaderFindsInFile, fsck, needsJudges, withDisk } from './testing/oracles.ts';

/** Bytes but zero and slash; no dots in front, so that no name means `.`, `..` or a whiteout. */
const name = fc
  .uint8Array({ minLength: 1, maxLength: 255 })
  .map((bytes) => bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x5f : byte)))
  .map((bytes) => byteStringFromBytes(bytes).replace(/^\.+/, 'x') as ByteString);

const path = fc
  .oneof(
    fc.array(fc.constantFrom('a', 'b', 'usr', 'lib'), { minLength: 1, maxLength: 4 }),
    fc.array(name, { minLength: 1, maxLength: 3 }),
  )
  .map((names) => names.join('/') as ByteString);

const ordinary = {
  path,
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
  gid: fc.integer({ min: 0, max: 2 ** 32 - 2 }),
  seconds: fc.integer({ min: 0, max: 9_000_000_000 }),
  nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
};

const xattrs = fc.dictionary(
  fc.stringMatching(/^user\.[a-z]{1,30}$/),
  fc.string({ maxLength: 120 }),
  { maxKeys: 6, noNullPrototype: true },
);

const dataSize = fc.oneof(
  fc.constantFrom(0, 1, 4095, 4096, 4097, 262_143, 262_144, 262_145, 524_288, 524_289),
  fc.integer({ min: 0, max: 2_000_000 }),
);

/** A file of which only pieces are there. */
const pieces = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 60_000 }), fc.integer({ min: 1, max: 30_000 })), {
    maxLength: 12,
  })
  .map((gaps) => {
    let end = 0;
    const parts = gaps.map(([gap, length]) => {
      const part = [end + gap, length] as const;
      end += gap + length;
      return part;
    });
    return { data: end + 5000, parts };
  });

const entry: fc.Arbitrary<EntryInWords> = fc.oneof(
  fc.record({ ...ordinary, data: dataSize, xattrs }, { noNullPrototype: true }),
  fc
    .tuple(fc.record(ordinary, { noNullPrototype: true }), pieces)
    .map(([plain, holed]) => ({ ...plain, ...holed })),
  fc.record(
    { ...ordinary, type: fc.constant('directory' as const), xattrs },
    { noNullPrototype: true },
  ),
  fc.record(
    {
      ...ordinary,
      type: fc.constant('symlink' as const),
      target: fc.stringMatching(/^[a-z/.]{1,200}$/),
    },
    { noNullPrototype: true },
  ),
  fc.record(
    {
      ...ordinary,
      type: fc.constantFrom('character-device' as const, 'block-device' as const),
      device: fc.tuple(fc.integer({ min: 0, max: 4095 }), fc.integer({ min: 0, max: 1_048_575 })),
    },
    { noNullPrototype: true },
  ),
);

/** Later entries of a layer may replace earlier ones, and upper layers anything below. */
const layers = fc.array(fc.array(entry, { maxLength: 25 }), { maxLength: 4 });

/** Layers that make no tree, like a directory below a file, are no business of this room. */
function refusedByRootfs(thrown: unknown): undefined {
  if (!errorCode(thrown)?.startsWith('ERR_ROOTFS_')) throw thrown;
}

test(
  'generated layers give disks in which e2fsck and the reader find exactly the tree',
  { skip: needsJudges },
  async () => {
    await fc.assert(
      fc.asyncProperty(layers, async (described) => {
        const image = await testImage(described).catch(refusedByRootfs);
        fc.pre(image !== undefined);
        await withDisk(image, async (disk) => {
          await fsck(disk.path);
          await expectReaderFindsInFile(disk.path, image);
        });
      }),
      { numRuns: 12 },
    );
  },
);
