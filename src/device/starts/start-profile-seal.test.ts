import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import fc from 'fast-check';

import { errorCode, type Layout, type LayoutRow } from '../../base/index.ts';
import { openLocalKeyring, type KeyService } from '../../keys/index.ts';
import { allPages, pageSizeBytes } from './file-windows.ts';
import { blockCountOf, packedBlocksMax, type PackRun, type PackedChunk } from './start-pack.ts';
import {
  decodeStartProfile,
  encodeStartProfile,
  startProfileChunk,
  startProfileHead,
  startProfilePackedChunk,
  startProfileRun,
  startProfileWindow,
  type EncodedStartProfile,
} from './start-profile-codec.ts';
import {
  openStartProfile,
  sealStartProfile,
  startProfileFormatVersion,
  startProfileHeader,
} from './start-profile-seal.ts';
import {
  profiledChunksMax,
  profiledWindowsMax,
  weightMin,
  windowKey,
  type StartProfile,
} from './start-profile.ts';

const image = { tenant: 'tenant-a', rootId: 'root', manifestId: 'ab'.repeat(32) };

const u32Max = 2 ** 32 - 1;
const weights = fc.integer({ min: 201, max: 1000 }).map((steps) => steps / 1000);
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));

/** Of each chunk, its runs as gap to the one before and length, its place in the pack, and what opens it. */
const packedSketches = fc.array(
  fc.tuple(
    fc.array(fc.tuple(fc.nat(5000), fc.integer({ min: 1, max: 16 })), {
      minLength: 1,
      maxLength: 8,
    }),
    fc.nat(),
    bytes32,
    bytes32,
    fc.nat(),
    fc.constantFrom('none', 'zstd-v1'),
  ),
  { minLength: 1, maxLength: 6 },
);

const packs = packedSketches.map((sketches) => {
  let end = 0;
  const chunks = sketches.map(([sketch, place, key, ciphertextDigest, length, codec]) => {
    const inOrder = sketch.map(([gap, blockCount]): PackRun => {
      const diskBlock = end + gap;
      end = diskBlock + blockCount;
      return { diskBlock, blockCount };
    });
    // Of the disk's order nothing is left, as a reader need not find it.
    const runs = place % 2 === 0 ? inOrder : inOrder.toReversed();
    const storedLengthBytes = 1 + (length % (blockCountOf(runs) * pageSizeBytes));
    const chunk: PackedChunk = { runs, key, ciphertextDigest, storedLengthBytes, codec };
    return { place, chunk };
  });
  const shuffled = chunks.toSorted((a, b) => a.place - b.place);
  return { chunks: shuffled.map(({ chunk }) => chunk) };
});

const profiles: fc.Arbitrary<StartProfile> = fc.record(
  {
    starts: fc.nat(u32Max),
    chunks: fc.uniqueArray(
      fc.record(
        { index: fc.nat(u32Max), atMs: fc.nat(u32Max), weight: weights },
        { noNullPrototype: true },
      ),
      { selector: ({ index }) => index, maxLength: 50 },
    ),
    windows: fc.uniqueArray(
      fc.record(
        {
          inode: fc.nat(u32Max),
          window: fc.nat(u32Max),
          pages: fc.integer({ min: 1, max: allPages }),
          diskBlock: fc.nat(u32Max),
          atUs: fc.nat(u32Max),
          weight: weights,
        },
        { noNullPrototype: true },
      ),
      { selector: windowKey, maxLength: 50 },
    ),
    pack: fc.option(packs, { nil: undefined }),
  },
  { noNullPrototype: true },
);

const samplePacked = (diskBlock: number, fill: number): PackedChunk => ({
  runs: [
    { diskBlock, blockCount: 2 },
    { diskBlock: diskBlock + 5, blockCount: 1 },
  ],
  key: Buffer.alloc(32, fill),
  ciphertextDigest: Buffer.alloc(32, fill + 1),
  storedLengthBytes: 3 * pageSizeBytes,
  codec: 'zstd-v1',
});

const sample: StartProfile = {
  starts: 3,
  chunks: [
    { index: 7, atMs: 1, weight: 1 },
    { index: 2, atMs: 20, weight: 0.6 },
  ],
  windows: [{ inode: 12, window: 3, pages: 0x8001, diskBlock: 900, atUs: 70_000, weight: 0.4 }],
  pack: { chunks: [samplePacked(7000, 0x11), samplePacked(900, 0x21)] },
};

/** The sample with another first chunk of its pack. */
function repacked(change: Partial<PackedChunk>): StartProfile {
  return { ...sample, pack: { chunks: [{ ...samplePacked(900, 0x11), ...change }] } };
}

function withRuns(...runs: readonly (readonly [diskBlock: number, blockCount: number])[]) {
  return repacked({ runs: runs.map(([diskBlock, blockCount]) => ({ diskBlock, blockCount })) });
}

function assertSound({ chunks, windows, pack }: StartProfile): void {
  assert.equal(new Set(chunks.map(({ index }) => index)).size, chunks.length);
  assert.equal(new Set(windows.map(windowKey)).size, windows.length);
  assert.ok([...chunks, ...windows].every(({ weight }) => weight > weightMin && weight <= 1));
  assert.ok(windows.every(({ pages }) => pages > 0 && pages <= allPages));
  const packed = new Set<number>();
  for (const { runs, storedLengthBytes } of pack?.chunks ?? []) {
    for (const run of runs) {
      assert.ok(run.blockCount > 0);
      for (let at = 0; at < run.blockCount; at += 1) {
        assert.ok(!packed.has(run.diskBlock + at));
        packed.add(run.diskBlock + at);
      }
    }
    const blockCount = blockCountOf(runs);
    assert.ok(blockCount <= packedBlocksMax);
    assert.ok(storedLengthBytes > 0 && storedLengthBytes <= blockCount * pageSizeBytes);
  }
}

/** Bytes of a profile, a few of them changed, and some cut off or put in. */
const changedProfiles = fc
  .tuple(
    profiles,
    fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }),
    fc.oneof(fc.constant(0), fc.integer({ min: -60, max: 60 })),
  )
  .map(([profile, changes, longer]): EncodedStartProfile => {
    const { sealed: whole, digests } = encodeStartProfile(profile);
    const sealed = Buffer.alloc(Math.max(0, whole.byteLength + longer));
    sealed.set(whole.subarray(0, sealed.byteLength));
    for (const [at, byte] of changes) {
      if (sealed.byteLength > 0) sealed[at % sealed.byteLength] = byte;
    }
    return { sealed, digests };
  });

const anyBytes = fc.record({
  sealed: fc.uint8Array({ maxLength: 200 }),
  digests: fc.uint8Array({ maxLength: 100 }),
});

describe('the bytes of a start profile', () => {
  test('lose nothing of it', () => {
    fc.assert(
      fc.property(profiles, (profile) => {
        assert.deepEqual(decodeStartProfile(encodeStartProfile(profile)), profile);
      }),
    );
  });

  test('have the digests of its pack beside them, 32 bytes for each chunk', () => {
    const { digests } = encodeStartProfile(sample);
    assert.deepEqual(digests, Buffer.from(`${'12'.repeat(32)}${'22'.repeat(32)}`, 'hex'));
    assert.equal(encodeStartProfile({ ...sample, pack: undefined }).digests.byteLength, 0);
  });

  test('are these', () => {
    const golden = [
      // starts, chunks, windows, packed chunks
      '03000000 02000000 01000000 02000000',
      // index, at_ms, weight, _reserved
      '07000000 01000000 e803 0000',
      '02000000 14000000 5802 0000',
      // inode, window, disk_block, at_us, pages, weight
      '0c000000 03000000 84030000 70110100 0180 9001',
      // key, stored_length, codec, run_count, and of each run disk_block, block_count
      `${'11'.repeat(32)} 00300000 01000000 02000000`,
      '581b0000 02000000 5d1b0000 01000000',
      `${'21'.repeat(32)} 00300000 01000000 02000000`,
      '84030000 02000000 89030000 01000000',
    ];
    const sealed = Buffer.from(golden.join('').replaceAll(' ', ''), 'hex');
    const encoded = encodeStartProfile(sample);
    assert.deepEqual(Buffer.from(encoded.sealed), sealed);
    assert.deepEqual(decodeStartProfile({ sealed, digests: encoded.digests }), sample);
  });

  test('give a sound profile or ERR_DEVICE_PROFILE, whatever they are', () => {
    fc.assert(
      fc.property(fc.oneof(anyBytes, changedProfiles), (encoded) => {
        try {
          const profile = decodeStartProfile(encoded);
          assertSound(profile);
          // What is read of them is all there is: only padding may differ.
          const { sealed, digests } = encodeStartProfile(profile);
          assert.equal(sealed.byteLength, encoded.sealed.byteLength);
          assert.equal(digests.byteLength, encoded.digests.byteLength);
        } catch (thrown) {
          assert.equal(errorCode(thrown), 'ERR_DEVICE_PROFILE');
        }
      }),
      { numRuns: 1000 },
    );
  });

  /** Message by what is wrong. */
  const wrong: readonly (readonly [what: string, profile: StartProfile, message: RegExp])[] = [
    ['runs that overlap', withRuns([900, 3], [902, 1]), /block 902 twice/],
    ['runs that overlap in another order', withRuns([902, 1], [900, 3]), /block 902 twice/],
    ['runs one in the other', withRuns([900, 9], [950, 1], [903, 2]), /block 903 twice/],
    ['a run twice', withRuns([900, 3], [900, 3]), /block 900 twice/],
    [
      'chunks that overlap',
      { ...sample, pack: { chunks: [samplePacked(900, 1), samplePacked(905, 2)] } },
      /block 905 twice/,
    ],
    [
      'chunks that overlap far apart in the pack',
      {
        ...sample,
        pack: { chunks: [906, 2000, 100, 901].map((block, at) => samplePacked(block, at)) },
      },
      /block 906 twice/,
    ],
    [
      'the same chunk twice',
      { ...sample, pack: { chunks: [samplePacked(900, 1), samplePacked(900, 1)] } },
      /block 900 twice/,
    ],
    ['a run of no blocks', withRuns([900, 3], [905, 0]), /nothing of block 905/],
    ['a run of no blocks in front', withRuns([0, 0], [900, 3]), /nothing of block 0/],
    ['a run of no blocks within another', withRuns([900, 3], [901, 0]), /nothing of block 901/],
    ['a packed chunk without runs', repacked({ runs: [] }), /0 blocks/],
    ['a packed chunk that is too large', withRuns([900, 100], [1100, 29]), /129 blocks/],
    ['a huge run', withRuns([900, u32Max]), /4294967295 blocks/],
    ['an empty packed chunk', repacked({ storedLengthBytes: 0 }), /wrong length/],
    [
      'a packed chunk longer than its blocks',
      repacked({ storedLengthBytes: 3 * pageSizeBytes + 1 }),
      /wrong length/,
    ],
    [
      'a window without pages',
      {
        ...sample,
        windows: [{ inode: 12, window: 3, pages: 0, diskBlock: 1, atUs: 0, weight: 1 }],
      },
      /window 3 of inode 12 has no pages/,
    ],
    [
      'a window twice',
      { ...sample, windows: [...sample.windows, ...sample.windows] },
      /window 3 of inode 12 twice/,
    ],
    ['a chunk twice', { ...sample, chunks: [...sample.chunks, ...sample.chunks] }, /chunk 7 twice/],
    ['a weight too large', { ...sample, chunks: [{ index: 1, atMs: 0, weight: 1.001 }] }, /weight/],
    ['a weight too small', { ...sample, chunks: [{ index: 1, atMs: 0, weight: 0.2 }] }, /weight/],
  ];
  for (const [what, profile, message] of wrong) {
    test(`are refused for ${what}`, () => {
      const encoded = encodeStartProfile(profile);
      assert.throws(() => decodeStartProfile(encoded), { code: 'ERR_DEVICE_PROFILE', message });
    });
  }

  test('have runs and chunks in any order', () => {
    const wild = withRuns([900, 10], [20, 5], [5000, 1], [0, 20]);
    assert.deepEqual(decodeStartProfile(encodeStartProfile(wild)), wild);
    const [, last] = sample.pack?.chunks ?? [];
    assert.deepEqual(decodeStartProfile(encodeStartProfile(sample)).pack?.chunks[1], last);
  });

  test('have runs that touch, and a chunk as long as one may be', () => {
    const touching = withRuns([900, 100], [1000, 28]);
    assert.deepEqual(decodeStartProfile(encodeStartProfile(touching)), touching);
    const full = { ...withRuns([0, packedBlocksMax]).pack?.chunks[0] };
    const longest = repacked({ ...full, storedLengthBytes: packedBlocksMax * pageSizeBytes });
    assert.deepEqual(decodeStartProfile(encodeStartProfile(longest)), longest);
  });

  test('are refused for a codec that is not known', () => {
    const plain = encodeStartProfile(repacked({ codec: 'none' }));
    const codecAt =
      startProfileHead.sizeBytes +
      sample.chunks.length * startProfileChunk.sizeBytes +
      sample.windows.length * startProfileWindow.sizeBytes +
      offsetOf(startProfilePackedChunk, 'codec');
    const codecsOf = (number: number): readonly (string | undefined)[] => {
      const sealed = Buffer.from(plain.sealed);
      sealed.writeUInt32LE(number, codecAt);
      return (decodeStartProfile({ ...plain, sealed }).pack?.chunks ?? []).map(
        ({ codec }) => codec,
      );
    };
    assert.deepEqual(codecsOf(0), ['none']);
    assert.deepEqual(codecsOf(1), ['zstd-v1']);
    for (const number of [2, 255, 256, 65_536, u32Max]) {
      assert.throws(() => codecsOf(number), { code: 'ERR_DEVICE_PROFILE', message: /codec/ });
    }
  });

  test('are refused for more or fewer digests than they list packed chunks', () => {
    const { sealed, digests } = encodeStartProfile(sample);
    for (const other of [
      digests.subarray(32),
      digests.subarray(1),
      Buffer.concat([digests, digests.subarray(32)]),
      new Uint8Array(0),
    ]) {
      assert.throws(() => decodeStartProfile({ sealed, digests: other }), {
        code: 'ERR_DEVICE_PROFILE',
        message: /digests of 2 packed chunks/,
      });
    }
  });

  test('are refused at once for counts that no bytes are there for', () => {
    const none = { starts: 1, chunk_count: 0, window_count: 0, packed_count: 0 };
    for (const counts of [
      { chunk_count: 1 },
      { chunk_count: profiledChunksMax },
      { chunk_count: profiledChunksMax + 1 },
      { chunk_count: u32Max },
      { window_count: 1 },
      { window_count: profiledWindowsMax },
      { window_count: profiledWindowsMax + 1 },
      { window_count: u32Max },
      { packed_count: 1 },
      { packed_count: u32Max },
    ]) {
      const sealed = startProfileHead.encode({ ...none, ...counts });
      const encoded = { sealed, digests: new Uint8Array(0) };
      assert.throws(() => decodeStartProfile(encoded), { code: 'ERR_DEVICE_PROFILE' });
    }
    const head = startProfileHead.encode({ ...none, packed_count: 1 });
    for (const run_count of [1, u32Max]) {
      const opening = { key: new Uint8Array(32), stored_length: 4096, codec: 0 };
      const packed = startProfilePackedChunk.encode({ ...opening, run_count });
      const encoded = { sealed: Buffer.concat([head, packed]), digests: new Uint8Array(32) };
      assert.throws(() => decodeStartProfile(encoded), {
        code: 'ERR_DEVICE_PROFILE',
        message: /cut short/,
      });
    }
  });

  test('are refused cut short anywhere, and prolonged', () => {
    const { sealed, digests } = encodeStartProfile(sample);
    for (let end = 0; end < sealed.byteLength; end += 1) {
      assert.throws(() => decodeStartProfile({ sealed: sealed.subarray(0, end), digests }), {
        code: 'ERR_DEVICE_PROFILE',
        message: /cut short/,
      });
    }
    const longer = Buffer.concat([sealed, Buffer.alloc(1)]);
    assert.throws(() => decodeStartProfile({ sealed: longer, digests }), {
      code: 'ERR_DEVICE_PROFILE',
      message: /longer than what it lists/,
    });
  });
});

function offsetOf({ rows }: Layout<readonly LayoutRow[]>, wanted: string): number {
  const row = rows.find(([, , field]) => field === wanted);
  assert.ok(row !== undefined);
  return row[0];
}

describe('a sealed start profile', () => {
  let dir: string;
  let keys: KeyService;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'thaw-profile-'));
    keys = await openLocalKeyring(join(dir, 'keyring'));
  });
  after(async () => rm(dir, { recursive: true }));

  async function assertRefused(bytes: Uint8Array): Promise<void> {
    const code = await openStartProfile(bytes, image, keys).catch(errorCode);
    assert.ok(code === 'ERR_DEVICE_PROFILE' || code === 'ERR_KEYS_UNWRAP_REFUSED');
  }

  /** Where the digests begin. */
  const frontBytes = startProfileHeader.sizeBytes;

  function withHeader(sealed: Uint8Array, field: string, value: number): Buffer {
    const bytes = Buffer.from(sealed);
    bytes.writeUInt32LE(value, offsetOf(startProfileHeader, field));
    return bytes;
  }

  test('opens for its image, with all that was sealed', async () => {
    await fc.assert(
      fc.asyncProperty(profiles, async (profile) => {
        const sealed = await sealStartProfile(profile, image, keys);
        assert.deepEqual(await openStartProfile(sealed, image, keys), profile);
      }),
      { numRuns: 30 },
    );
  });

  test('shows the digests of its pack, and nothing else of what is in it', async () => {
    const sealed = Buffer.from(await sealStartProfile(sample, image, keys));
    const inside = Buffer.from(encodeStartProfile(sample).sealed);
    for (let at = 0; at + 12 <= inside.byteLength; at += 4) {
      assert.equal(sealed.indexOf(inside.subarray(at, at + 12)), -1, `bytes from ${at} on`);
    }
    const { packed_count: packedCount } = startProfileHeader.decode(sealed);
    const digests = (sample.pack?.chunks ?? []).map(({ ciphertextDigest }) => ciphertextDigest);
    assert.equal(packedCount, digests.length);
    const shown = sealed.subarray(frontBytes, frontBytes + 32 * packedCount);
    assert.deepEqual(shown, Buffer.concat(digests));
  });

  test('opens for no other tenant, root or image', async () => {
    const sealed = await sealStartProfile(sample, image, keys);
    await sealStartProfile(sample, { ...image, tenant: 'tenant-b' }, keys); // now it has a key
    for (const other of [
      { ...image, tenant: 'tenant-b' },
      { ...image, rootId: 'other' },
      { ...image, manifestId: 'cd'.repeat(32) },
    ]) {
      const code = await openStartProfile(sealed, other, keys).catch(errorCode);
      assert.ok(code === 'ERR_DEVICE_PROFILE' || code === 'ERR_KEYS_UNWRAP_REFUSED');
    }
  });

  test('does not open with any byte changed, cut short or prolonged', async () => {
    const sealed = await sealStartProfile(sample, image, keys);
    for (let at = 0; at < sealed.byteLength; at += 1) {
      const bytes = Buffer.from(sealed);
      bytes[at] = (bytes[at] ?? 0) ^ 0x10;
      await assertRefused(bytes);
      await assertRefused(sealed.subarray(0, at));
    }
    await assertRefused(Buffer.concat([sealed, Buffer.alloc(1)]));
  });

  test('does not open with another digest in the clear, one more or one less', async () => {
    const sealed = Buffer.from(await sealStartProfile(sample, image, keys));
    const other = Buffer.from(sealed);
    other.fill(0x77, frontBytes, frontBytes + 32);
    await assert.rejects(openStartProfile(other, image, keys), {
      code: 'ERR_DEVICE_PROFILE',
      message: /seal does not hold/,
    });
    const swapped = Buffer.from(sealed);
    sealed.copy(swapped, frontBytes, frontBytes + 32, frontBytes + 64);
    sealed.copy(swapped, frontBytes + 32, frontBytes, frontBytes + 32);
    await assert.rejects(openStartProfile(swapped, image, keys), {
      code: 'ERR_DEVICE_PROFILE',
      message: /seal does not hold/,
    });
    const [front, rest] = [sealed.subarray(0, frontBytes), sealed.subarray(frontBytes)];
    const longer = Buffer.concat([front, Buffer.alloc(32), rest]);
    const shorter = Buffer.concat([front, rest.subarray(32)]);
    for (const [bytes, count] of [
      [longer, 3],
      [shorter, 1],
    ] as const) {
      await assert.rejects(
        openStartProfile(withHeader(bytes, 'packed_count', count), image, keys),
        {
          code: 'ERR_DEVICE_PROFILE',
          message: /seal does not hold/,
        },
      );
      await assertRefused(bytes);
    }
  });

  test('is refused of any other format version, which is named', async () => {
    const sealed = await sealStartProfile(sample, image, keys);
    assert.equal(startProfileFormatVersion, 4);
    for (const version of [0, 1, 2, 3, 5, u32Max]) {
      await assert.rejects(
        openStartProfile(withHeader(sealed, 'format_version', version), image, keys),
        { code: 'ERR_DEVICE_PROFILE', message: new RegExp(`format version ${version}\\b`) },
      );
    }
    // A header of version 2 was four bytes shorter; this one has nothing behind it.
    const old = withHeader(sealed, 'format_version', 2).subarray(0, frontBytes);
    await assert.rejects(openStartProfile(old, image, keys), { message: /format version 2\b/ });
    await assert.rejects(openStartProfile(withHeader(sealed, 'flags', 1), image, keys), {
      code: 'ERR_DEVICE_PROFILE',
    });
  });

  test('is refused for lengths in its header that it does not have', async () => {
    const sealed = await sealStartProfile(sample, image, keys);
    for (const field of ['packed_count', 'wrapped_key_length']) {
      for (const value of [2 ** 20, 2 ** 31, u32Max]) {
        await assert.rejects(openStartProfile(withHeader(sealed, field, value), image, keys), {
          code: 'ERR_DEVICE_PROFILE',
          message: /cut short/,
        });
      }
    }
  });

  test('is refused whatever else the bytes are', async () => {
    const sealed = Buffer.from(await sealStartProfile(sample, image, keys));
    const headed = fc
      .tuple(fc.nat(4), fc.nat(200), fc.uint8Array({ maxLength: 300 }))
      .map(([packedCount, keyLength, rest]) => {
        const header = withHeader(sealed.subarray(0, frontBytes), 'packed_count', packedCount);
        return Buffer.concat([withHeader(header, 'wrapped_key_length', keyLength), rest]);
      });
    const spliced = fc
      .tuple(fc.nat(sealed.byteLength), fc.nat(sealed.byteLength), fc.uint8Array({ minLength: 1 }))
      .map(([from, to, between]) =>
        Buffer.concat([sealed.subarray(0, from), between, sealed.subarray(to)]),
      )
      .filter((bytes) => !bytes.equals(sealed));
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.uint8Array({ maxLength: 400 }), headed, spliced), assertRefused),
      { numRuns: 300 },
    );
  });
});

test('docs/formats/start-profile.md has the rows of the tables', async () => {
  const path = join(import.meta.dirname, '../../../docs/formats/start-profile.md');
  const text = await readFile(path, 'utf8');
  const tables: readonly Layout<readonly LayoutRow[]>[] = [
    startProfileHeader,
    startProfileHead,
    startProfileChunk,
    startProfileWindow,
    startProfilePackedChunk,
    startProfileRun,
  ];
  for (const { name, sizeBytes, rows } of tables) {
    const at = text.indexOf(`\`${name}\`, ${sizeBytes} bytes`);
    assert.ok(at >= 0, name);
    const [, table = ''] = text.slice(at).split('|---|---|---|---|\n');
    const [body = ''] = table.split('\n\n');
    const listed = body.trim().split('\n');
    assert.equal(listed.length, rows.length, name);
    for (const [row, [offset, type, field]] of rows.entries()) {
      const hex = offset.toString(16).padStart(2, '0');
      const start = `| 0x${hex} | ${type} | \`${field}\` |`;
      assert.ok(listed[row]?.startsWith(start), `${name}.${field}`);
    }
  }
  const numberOf = (count: number): string => count.toLocaleString('en-US');
  assert.ok(text.includes(`# The start profile, format version ${startProfileFormatVersion}\n`));
  for (const [field, max] of [
    ['chunk_count', profiledChunksMax],
    ['window_count', profiledWindowsMax],
  ] as const) {
    assert.match(text, new RegExp(`\`${field}\` \\| at most ${numberOf(max)} \\|`));
  }
});
