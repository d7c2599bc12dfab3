import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import fc from 'fast-check';

import { errorCode, type Layout, type LayoutRow } from '../../base/index.ts';
import { openLocalKeyring, type KeyService } from '../../keys/index.ts';
import {
  decodeStartProfile,
  encodeStartProfile,
  startProfileChunk,
  startProfileHead,
  startProfileWindow,
} from './start-profile-codec.ts';
import { openStartProfile, sealStartProfile, startProfileHeader } from './start-profile-seal.ts';
import {
  profiledChunksMax,
  profiledWindowsMax,
  windowKey,
  type StartProfile,
} from './start-profile.ts';

const image = { tenant: 'tenant-a', rootId: 'root', manifestId: 'ab'.repeat(32) };

const profiles: fc.Arbitrary<StartProfile> = fc.record(
  {
    starts: fc.nat(2 ** 32 - 1),
    chunks: fc.uniqueArray(
      fc.record(
        {
          index: fc.nat(2 ** 32 - 1),
          atMs: fc.nat(2 ** 32 - 1),
          weight: fc.integer({ min: 201, max: 1000 }).map((steps) => steps / 1000),
        },
        { noNullPrototype: true },
      ),
      { selector: ({ index }) => index, maxLength: 50 },
    ),
    windows: fc.uniqueArray(
      fc.record(
        {
          inode: fc.nat(2 ** 32 - 1),
          window: fc.nat(2 ** 32 - 1),
          chunk: fc.nat(2 ** 32 - 1),
          lastChunk: fc.nat(2 ** 32 - 1),
          weight: fc.integer({ min: 201, max: 1000 }).map((steps) => steps / 1000),
        },
        { noNullPrototype: true },
      ),
      { selector: windowKey, maxLength: 50 },
    ),
  },
  { noNullPrototype: true },
);

const sample: StartProfile = {
  starts: 3,
  chunks: [
    { index: 7, atMs: 1, weight: 1 },
    { index: 2, atMs: 20, weight: 0.6 },
  ],
  windows: [{ inode: 12, window: 3, chunk: 7, lastChunk: 2, weight: 0.4 }],
};

test('encodeStartProfile and decodeStartProfile lose nothing', () => {
  fc.assert(
    fc.property(profiles, (profile) => {
      assert.deepEqual(decodeStartProfile(encodeStartProfile(profile)), profile);
    }),
  );
});

test('decodeStartProfile gives a sound profile or ERR_DEVICE_PROFILE, whatever the bytes are', () => {
  const spoilt = fc.tuple(profiles, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }));
  const changed = spoilt.map(([profile, changes]) => {
    const bytes = encodeStartProfile(profile);
    for (const [at, byte] of changes) bytes[at % bytes.byteLength] = byte;
    return bytes;
  });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), changed), (bytes) => {
      try {
        const { chunks, windows } = decodeStartProfile(bytes);
        const recordBytes =
          chunks.length * startProfileChunk.sizeBytes +
          windows.length * startProfileWindow.sizeBytes;
        assert.equal(bytes.byteLength, startProfileHead.sizeBytes + recordBytes);
        assert.equal(new Set(chunks.map(({ index }) => index)).size, chunks.length);
        assert.equal(new Set(windows.map(windowKey)).size, windows.length);
        assert.ok([...chunks, ...windows].every(({ weight }) => weight > 0.2 && weight <= 1));
      } catch (thrown) {
        assert.equal(errorCode(thrown), 'ERR_DEVICE_PROFILE');
      }
    }),
    { numRuns: 500 },
  );
  for (const [chunk_count, window_count] of [
    [profiledChunksMax + 1, 0],
    [0, profiledWindowsMax + 1],
  ] as const) {
    const huge = startProfileHead.encode({ starts: 1, chunk_count, window_count });
    assert.throws(() => decodeStartProfile(huge), { code: 'ERR_DEVICE_PROFILE', message: /lists/ });
  }
});

describe('a sealed start profile', () => {
  let dir: string;
  let keys: KeyService;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'thaw-profile-'));
    keys = await openLocalKeyring(join(dir, 'keyring'));
  });
  after(async () => rm(dir, { recursive: true }));

  test('opens for its image, and shows nothing of what is in it', async () => {
    const sealed = await sealStartProfile(sample, image, keys);
    assert.deepEqual(await openStartProfile(sealed, image, keys), sample);
    assert.ok(
      !Buffer.from(sealed).includes(Buffer.from(encodeStartProfile(sample).subarray(8, 20))),
    );
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
    const refused = async (bytes: Uint8Array): Promise<void> => {
      const code = await openStartProfile(bytes, image, keys).catch(errorCode);
      assert.ok(code === 'ERR_DEVICE_PROFILE' || code === 'ERR_KEYS_UNWRAP_REFUSED');
    };
    for (let at = 0; at < sealed.byteLength; at += 1) {
      const bytes = Buffer.from(sealed);
      bytes[at] = (bytes[at] ?? 0) ^ 0x10;
      await refused(bytes);
      await refused(sealed.subarray(0, at));
    }
    await refused(Buffer.concat([sealed, Buffer.alloc(1)]));
  });
});

test('docs/formats/start-profile.md has the rows of the tables', async () => {
  const path = join(import.meta.dirname, '../../../docs/formats/start-profile.md');
  const text = await readFile(path, 'utf8');
  const tables: readonly Layout<readonly LayoutRow[]>[] = [
    startProfileHeader,
    startProfileHead,
    startProfileChunk,
  ];
  for (const { name, sizeBytes, rows } of tables) {
    assert.ok(text.includes(`\`${name}\`, ${sizeBytes} bytes`), name);
    for (const [offset, type, field] of rows) {
      const hex = offset.toString(16).padStart(2, '0');
      assert.ok(text.includes(`| 0x${hex} | ${type} | \`${field}\` |`), `${name}.${field}`);
    }
  }
});
