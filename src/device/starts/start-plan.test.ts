import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import { allPages, diskInode, pageSizeBytes, pagesPerWindow } from './file-windows.ts';
import { planPack, type PackRun, type StartPack } from './start-pack.ts';
import { planStart, unpackedChunkCount, type PageRun, type PlannedChunk } from './start-plan.ts';
import { windowKey, type ProfiledWindow, type StartProfile } from './start-profile.ts';

const blocksPerChunk = 8;
const chunkSizeBytes = blocksPerChunk * pageSizeBytes;

function windowOf(
  inode: number,
  window: number,
  diskBlock: number,
  pages = allPages,
  atUs = 0,
): ProfiledWindow {
  return { inode, window, pages, diskBlock, atUs, weight: 1 };
}

function packOf(plan: readonly (readonly PackRun[])[]): StartPack {
  const bytes = new Uint8Array(32);
  const opening = { key: bytes, ciphertextDigest: bytes, storedLengthBytes: 4096 };
  return { chunks: plan.map((runs) => ({ runs, ...opening, codec: 'none' })) };
}

function profileOf(
  indexes: readonly number[],
  windows: readonly ProfiledWindow[] = [],
  pack?: StartPack,
): StartProfile {
  const chunks = indexes.map((index, atMs) => ({ index, atMs, weight: 1 }));
  return { starts: 1, chunks, windows, pack };
}

interface Page {
  readonly inode: number;
  readonly page: number;
}

function nameOf({ inode, page }: Page): string {
  return `${inode}:${page}`;
}

function pagesIn({ inode, page, pageCount }: PageRun): readonly Page[] {
  return Array.from({ length: pageCount }, (_, at) => ({ inode, page: page + at }));
}

/** Each page of the windows, and its block. */
function pagesOf(
  windows: readonly ProfiledWindow[],
): readonly (Page & { readonly block: number })[] {
  return windows.flatMap(({ inode, window, pages, diskBlock }) => {
    const all = Array.from({ length: pagesPerWindow }, (_, bit) => bit);
    const read = all.filter((bit) => (pages >> bit) & 1);
    return read.map((bit) => ({
      inode,
      page: window * pagesPerWindow + bit,
      block: diskBlock + bit,
    }));
  });
}

/** By block, the naive way. */
function packedChunkByBlock(pack: StartPack | undefined): ReadonlyMap<number, number> {
  const chunkByBlock = new Map<number, number>();
  for (const [index, { runs }] of (pack?.chunks ?? []).entries()) {
    for (const { diskBlock, blockCount } of runs) {
      for (let at = 0; at < blockCount; at += 1) chunkByBlock.set(diskBlock + at, index);
    }
  }
  return chunkByBlock;
}

const manyWindows = fc.uniqueArray(
  fc
    .tuple(
      fc.integer({ min: 0, max: 4 }),
      fc.nat(6),
      fc.nat(200),
      fc.oneof(
        fc.constant(allPages),
        fc.integer({ min: 1, max: allPages }),
        fc.tuple(fc.nat(15), fc.nat(15)).map(([one, other]) => (1 << one) | (1 << other)),
      ),
      fc.nat(9),
    )
    .map((parts) => windowOf(...parts)),
  { selector: windowKey, maxLength: 20 },
);

function runsOf(blocks: readonly number[]): PackRun[] {
  const runs: PackRun[] = [];
  for (const diskBlock of blocks.toSorted((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last !== undefined && last.diskBlock + last.blockCount === diskBlock) {
      runs[runs.length - 1] = { ...last, blockCount: last.blockCount + 1 };
    } else runs.push({ diskBlock, blockCount: 1 });
  }
  return runs;
}

/** Of blocks chosen at random, each chunk's from anywhere: not what a pack of the windows would have. */
const anyPacks = fc
  .tuple(
    fc.uniqueArray(fc.nat(220), { maxLength: 150, size: 'max' }),
    fc.integer({ min: 1, max: 40 }),
    fc.integer({ min: 1, max: 30 }),
  )
  .map(([list, perChunk, together]) => {
    const wild = list.toSorted((a, b) => (a % together) - (b % together) || a - b);
    const chunks: PackRun[][] = [];
    for (let from = 0; from < wild.length; from += perChunk) {
      chunks.push(runsOf(wild.slice(from, from + perChunk)));
    }
    return packOf(chunks);
  });
const profiles = fc
  .tuple(
    fc.uniqueArray(fc.nat(40), { maxLength: 30 }),
    manyWindows,
    fc.oneof(fc.constant(undefined), fc.constant('of the windows' as const), anyPacks),
  )
  .map(([indexes, windows, pack]) =>
    profileOf(indexes, windows, pack === 'of the windows' ? packOf(planPack(windows)) : pack),
  );

function planOf(profile: StartProfile): readonly PlannedChunk[] {
  return planStart(profile, chunkSizeBytes);
}

describe('planStart()', () => {
  test('has each page once, with the chunk that has its block: of the pack if that has it', () => {
    fc.assert(
      fc.property(profiles, (profile) => {
        const chunkByBlock = packedChunkByBlock(profile.pack);
        const expected = pagesOf(profile.windows).map((page) => {
          const index = chunkByBlock.get(page.block);
          const where =
            index === undefined
              ? `disk ${Math.floor(page.block / blocksPerChunk)}`
              : `pack ${index}`;
          return `${nameOf(page)} in ${where}`;
        });
        const found = planOf(profile).flatMap(({ isPacked, index, runs }) =>
          runs
            .flatMap(pagesIn)
            .map((page) => `${nameOf(page)} in ${isPacked ? 'pack' : 'disk'} ${index}`),
        );
        assert.deepEqual(found.toSorted(), expected.toSorted());
      }),
    );
  });

  test('has each chunk once, and those that no page is known of without runs', () => {
    fc.assert(
      fc.property(profiles, (profile) => {
        const plan = planOf(profile);
        const names = plan.map(({ isPacked, index }) => `${isPacked} ${index}`);
        assert.equal(new Set(names).size, names.length);
        const covered = new Set(
          pagesOf(profile.windows).map(({ block }) => Math.floor(block / blocksPerChunk)),
        );
        const expected = profile.chunks.map(({ index }) => index).filter((at) => !covered.has(at));
        const bare = plan.filter(({ runs }) => runs.length === 0);
        assert.ok(bare.every(({ isPacked }) => !isPacked));
        assert.deepEqual(
          bare.map(({ index }) => index),
          expected,
          'in their order',
        );
        for (const { index, diskChunks } of bare) assert.deepEqual([...diskChunks], [index]);
      }),
    );
  });

  test('tells which chunks of the disk each chunk stands for', () => {
    fc.assert(
      fc.property(profiles, (profile) => {
        const blocks = new Map(pagesOf(profile.windows).map((page) => [nameOf(page), page.block]));
        for (const { isPacked, index, runs, diskChunks } of planOf(profile)) {
          const pages = runs.flatMap(pagesIn).map((page) => blocks.get(nameOf(page)) ?? NaN);
          const ofPages = new Set(pages.map((block) => Math.floor(block / blocksPerChunk)));
          if (!isPacked) assert.deepEqual([...diskChunks], [index]);
          else assert.deepEqual(diskChunks, ofPages);
        }
      }),
    );
  });

  test('has the chunks of the pack in their order, then those of the disk in the order of need', () => {
    fc.assert(
      fc.property(profiles, (profile) => {
        const places = new Map(profile.chunks.map(({ index }, place) => [index, place]));
        const plan = planOf(profile);
        const packed = plan.filter(({ isPacked }) => isPacked);
        assert.deepEqual(plan.slice(0, packed.length), packed);
        const indexes = packed.map(({ index }) => index);
        assert.deepEqual(
          indexes,
          indexes.toSorted((a, b) => a - b),
        );
        // What has no place in that comes last.
        const order = plan
          .slice(packed.length)
          .map(({ index }) => places.get(index) ?? places.size);
        assert.deepEqual(
          order,
          order.toSorted((a, b) => a - b),
        );
      }),
    );
  });

  test('makes one run of pages that come one after the other, none of them twice', () => {
    fc.assert(
      fc.property(profiles, (profile) => {
        for (const { runs } of planOf(profile)) {
          for (const [at, run] of runs.entries()) {
            assert.ok(run.pageCount > 0);
            const before = runs[at - 1];
            const isNext =
              before?.inode === run.inode && before.page + before.pageCount === run.page;
            assert.ok(!isNext);
          }
        }
      }),
    );
  });

  test('reads a file that lies in one piece in one run a chunk', () => {
    const windows = [windowOf(12, 0, 104), windowOf(12, 1, 120), windowOf(12, 2, 136, 0x00ff)];
    const runsOf = (plan: readonly PlannedChunk[]): unknown[] =>
      plan.map(({ isPacked, index, runs }) => [isPacked, index, ...runs]);
    const expected = [13, 14, 15, 16, 17].map((chunk, at) => [
      false,
      chunk,
      { inode: 12, page: at * blocksPerChunk, pageCount: blocksPerChunk },
    ]);
    assert.deepEqual(runsOf(planOf(profileOf([13, 14, 15, 16, 17], windows))), expected);
    const pack = packOf(planPack(windows));
    assert.deepEqual(runsOf(planOf(profileOf([], windows, pack))), [
      [true, 0, { inode: 12, page: 0, pageCount: 40 }],
    ]);
  });

  test('begins with the pack, in whatever order the chunks of the disk were read that it stands for', () => {
    const windows = [windowOf(12, 0, 0), windowOf(13, 0, 800), windowOf(14, 0, 400)];
    const pack = packOf([[{ diskBlock: 800, blockCount: 16 }], [{ diskBlock: 0, blockCount: 16 }]]);
    const orderOf = (indexes: readonly number[]): unknown[] =>
      planOf(profileOf(indexes, windows, pack)).map(({ isPacked, index }) =>
        isPacked ? `pack ${index}` : `disk ${index}`,
      );
    const ofPack = ['pack 0', 'pack 1'];
    assert.deepEqual(orderOf([]), [...ofPack, 'disk 50', 'disk 51']);
    assert.deepEqual(orderOf([0, 100]), [...ofPack, 'disk 50', 'disk 51']);
    assert.deepEqual(orderOf([7, 51, 101, 6, 1]), [
      ...ofPack,
      'disk 7',
      'disk 51',
      'disk 6',
      'disk 50',
    ]);
  });

  test('has the runs of a chunk in the order of the disk, however windows are listed', () => {
    const windows = [windowOf(12, 0, 32), windowOf(13, 0, 0), windowOf(14, 0, 16)];
    const pack = packOf(planPack(windows));
    const inodesOf = (list: readonly ProfiledWindow[]): number[] | undefined =>
      planOf(profileOf([], list, pack))[0]?.runs.map(({ inode }) => inode);
    assert.deepEqual(inodesOf(windows), [13, 14, 12]);
    assert.deepEqual(inodesOf(windows.toReversed()), [13, 14, 12]);
  });

  test('knows metadata as pages of the disk itself', () => {
    const windows = [windowOf(diskInode, 0, 0, 0x0003), windowOf(12, 0, 2, 0x0001)];
    const [first, ...others] = planOf(profileOf([0], windows));
    assert.deepEqual(others, []);
    assert.deepEqual(first?.runs, [
      { inode: diskInode, page: 0, pageCount: 2 },
      { inode: 12, page: 0, pageCount: 1 },
    ]);
  });

  test('of nothing that is known is nothing', () => {
    assert.deepEqual(planOf(profileOf([])), []);
    assert.deepEqual(planOf(profileOf([], [], packOf([[{ diskBlock: 0, blockCount: 9 }]]))), []);
  });
});

test('unpackedChunkCount() counts chunks of 512 KiB that pages lie in which the pack lacks, unless it is full', () => {
  const windows = [0, 16, 128, 250, 1280, 9000].map((block, at) => windowOf(12, at, block));
  const countWith = (...runs: readonly PackRun[]): number =>
    unpackedChunkCount(profileOf([3, 4, 77], windows, packOf([runs])));
  assert.equal(unpackedChunkCount(profileOf([], windows)), 5);
  assert.equal(countWith({ diskBlock: 0, blockCount: 32 }), 4);
  assert.equal(countWith({ diskBlock: 0, blockCount: 31 }), 5);
  assert.equal(countWith({ diskBlock: 0, blockCount: 266 }), 2);
  assert.equal(countWith({ diskBlock: 0, blockCount: 9016 }), 0);
  assert.equal(countWith({ diskBlock: 20_000, blockCount: 131_056 }), 5);
  assert.equal(countWith({ diskBlock: 20_000, blockCount: 131_072 }), 0, 'it can have no more');
});
