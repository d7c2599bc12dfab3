/**
 * How much of an image's disk other images' disks already hold, on the corpus of real packages: what the layout is
 * for. `--only thaw` leaves out the other writers, `--why` says what is not shared: by layer and by use,
 * `--case TEXT` takes the rows alone that have TEXT in group or name.
 */

import { parseArgs } from 'node:util';

import { planDisk } from '../src/ext4/index.ts';
import { readDiskUse, type DiskUse } from './dedup/block-use.ts';
import { cases, costGoals, type Case, type Goal } from './dedup/cases.ts';
import { plannedDisk, storedChunks, type StoredChunk } from './dedup/disk-chunks.ts';
import {
  filesOf,
  layerFiles,
  openLayers,
  type ImageFile,
  type LayeredImage,
} from './dedup/layered-image.ts';
import {
  attribute,
  changedFiles,
  compare,
  contentInBlocks,
  equalFiles,
  ofLayers,
  sharedShare,
  type UseRow,
} from './dedup/sharing.ts';
import { corpusImages, type LayerName } from './corpus/index.ts';
import type { Report, Table } from './harness.ts';

type Names = readonly LayerName[];

/** What our writer makes of an image. */
interface Ours {
  readonly image: LayeredImage;
  readonly chunks: readonly StoredChunk[];
  readonly use: () => Promise<DiskUse>;
}

async function withOurs<Result>(
  names: Names,
  work: (ours: Ours) => Promise<Result>,
): Promise<Result> {
  await using image = await openLayers(await layerFiles(names));
  const disk = plannedDisk(planDisk(image.tree), image.content);
  const chunks = await storedChunks(disk);
  let use: Promise<DiskUse> | undefined;
  return await work({ image, chunks, use: () => (use ??= readDiskUse(disk, chunks, image)) });
}

interface Known {
  readonly chunks: readonly StoredChunk[];
  readonly files: readonly ImageFile[];
}

const knownImages = new Map<string, Promise<Known>>();

/** The first images of pairs: each is in many. */
function known(names: Names): Promise<Known> {
  const key = names.join();
  const found =
    knownImages.get(key) ??
    withOurs(names, async ({ image, chunks }) => ({ chunks, files: await filesOf(image) }));
  knownImages.set(key, found);
  return found;
}

interface Verdict {
  readonly text: string;
  readonly isReached: boolean | undefined;
}

interface CaseResult {
  readonly case: Case;
  readonly chunks: { readonly total: number; readonly unshared: number };
  readonly storedBytes: { readonly total: number; readonly unshared: number };
  readonly verdict: Verdict;
  readonly layerNames: readonly string[];
  readonly uses: readonly UseRow[];
}

async function runCase(row: Case): Promise<CaseResult> {
  const first = await known(row.first);
  return await withOurs(row.second, async (ours) => {
    const layerNames = ours.image.layers.map(({ name }) => name);
    const files = await filesOf(ours.image);
    const use = await ours.use();
    const uses = attribute(first.chunks, ours.chunks, use);
    const indexes = (names: Names): number[] => layerIndexes(layerNames, names);
    const sharing = compare(first.chunks, ours.chunks);
    const judge = (goal: Goal): Verdict => {
      switch (goal.kind) {
        case 'none':
          return { text: '', isReached: undefined };
        case 'new chunks': {
          const own = files.filter(({ layer }) => indexes(goal.ofLayers).includes(layer));
          const limit = Math.ceil(contentInBlocks(own) / 2 ** 19) + goal.more;
          const { unshared } = sharing.chunks;
          return { text: `${unshared} new (<= ${limit})`, isReached: unshared <= limit };
        }
        case 'everything': {
          const shares = [sharing.chunks, sharing.storedBytes].map(sharedShare);
          const text = `chunks, bytes (>= ${percent(goal.atLeast, 0)})`;
          return { text, isReached: shares.every((share) => share >= goal.atLeast) };
        }
        case 'layers': {
          const judged = goal.goals.map(({ name, layers, atLeast }) => {
            const share = sharedShare(ofLayers(uses, indexes(layers)));
            const bound = sharedShare(changedFiles(first.files, files, indexes(layers)));
            const limits = `>= ${percent(atLeast, 0)}, at most ${percent(bound)}`;
            return { text: `${name} ${percent(share)} (${limits})`, isReached: share >= atLeast };
          });
          return {
            text: judged.map(({ text }) => text).join('; '),
            isReached: judged.every(({ isReached }) => isReached),
          };
        }
        case 'equal files': {
          const layers =
            goal.ofLayers === undefined
              ? layerNames.map((_, index) => index)
              : indexes(goal.ofLayers);
          const amount = equalFiles({ first, second: { chunks: ours.chunks, files, use }, layers });
          const share = sharedShare(amount);
          const text = `${percent(share)} of ${megabytes(amount.total)} (>= ${percent(goal.atLeast, 0)})`;
          return { text, isReached: share >= goal.atLeast };
        }
      }
    };
    return { case: row, ...sharing, verdict: judge(row.goal), layerNames, uses };
  });
}

function layerIndexes(layerNames: readonly string[], names: Names): number[] {
  const isNamed = (layer: string): boolean =>
    names.some((name) => layer === name || layer.startsWith(`${name} `));
  return [...layerNames.keys()].filter((index) => isNamed(layerNames[index] ?? ''));
}

function percent(share: number, digits = 1): string {
  return `${(share * 100).toFixed(digits)} %`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function reached({ isReached }: Verdict): string {
  if (isReached === undefined) return '';
  return isReached ? 'reached' : 'MISSED';
}

function caseTable(results: readonly CaseResult[]): Table {
  return {
    title: 'Shared with the first image',
    columns: ['case', '', 'chunks', 'bytes', 'new chunks', 'goal', 'what the goal is about'],
    rows: results.map(({ case: { group, name }, chunks, storedBytes, verdict }) => [
      group,
      name,
      percent(sharedShare(chunks)),
      percent(sharedShare(storedBytes)),
      `${chunks.unshared}`,
      reached(verdict),
      verdict.text,
    ]),
  };
}

/** What is not shared, and why. */
function whyTable({ case: { group, name }, layerNames, uses }: CaseResult): Table {
  return {
    title: `Not shared: ${group}: ${name}`,
    columns: ['layer', 'use', 'stored', 'not shared', 'of all'],
    rows: uses
      .filter(({ bytes }) => bytes.unshared > 0)
      .map(({ layer, kind, bytes }) => [
        layerNames[layer] ?? '(none)',
        kind,
        megabytes(bytes.total),
        megabytes(bytes.unshared),
        percent(bytes.unshared / bytes.total),
      ]),
  };
}

async function costTable(): Promise<Table> {
  const rows: string[][] = [];
  for (const [name, layers] of Object.entries(corpusImages)) {
    const row = await withOurs(layers, async ({ image, chunks, use }) => {
      const content = contentInBlocks(await filesOf(image));
      const stored = chunks.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
      const over = stored / content - 1;
      const byKind = new Map<string, number>();
      for (const { kind, bytes } of attribute([], chunks, await use())) {
        byKind.set(kind, (byKind.get(kind) ?? 0) + bytes.total);
      }
      const parts = [...byKind]
        .filter(([kind]) => !kind.endsWith('file'))
        .map(([kind, bytes]) => `${kind} ${percent(bytes / content)}`);
      return [
        name,
        megabytes(content),
        `${chunks.length}`,
        `+${percent(over)}`,
        over <= costGoals.storedBytes ? 'reached' : 'MISSED',
        parts.join(', '),
      ];
    });
    rows.push(row);
  }
  return {
    title: 'Cost of an image that shares nothing',
    columns: [
      'image',
      'content',
      'chunks',
      `stored (<= +${percent(costGoals.storedBytes, 0)})`,
      'goal',
      'of which',
    ],
    rows,
  };
}

export const report: Report = {
  title: 'Chunks of 512 KiB and their stored bytes, compared by content',
  run: async (args) => {
    const { values } = parseArgs({
      args: [...args],
      options: {
        only: { type: 'string' },
        why: { type: 'boolean', default: false },
        case: { type: 'string', default: '' },
      },
    });
    const chosen = cases.filter(({ group, name }) => `${group}: ${name}`.includes(values.case));
    const results: CaseResult[] = [];
    for (const row of chosen) results.push(await runCase(row));
    const tables = [caseTable(results)];
    if (values.why) tables.push(...results.map(whyTable).filter(({ rows }) => rows.length > 0));
    if (values.case === '') tables.push(await costTable());
    return tables;
  },
};
