/** Runs a row of the benchmark: makes the disks of both images and judges what they share. */

import { planDisk } from '../../src/ext4/index.ts';
import type { LayerName } from '../corpus/index.ts';
import { readDiskUse, type DiskUse } from './block-use.ts';
import type { Case, Goal } from './cases.ts';
import { plannedDisk, storedChunks } from './disk-chunks.ts';
import { entriesOf, layerFiles, openLayers } from './layered-image.ts';
import { otherDisks, otherWriters, type OtherWriter } from './other-writers.ts';
import {
  attribute,
  changed,
  compare,
  contentInBlocks,
  equalFiles,
  newChunks,
  ofLayers,
  sharedShare,
  type ImageOnDisk,
  type NewChunk,
  type Sharing,
  type UseRow,
} from './sharing.ts';
import { megabytes, percent } from './words.ts';

type Names = readonly LayerName[];

/** What our writer makes of an image. */
export interface MeasuredImage extends ImageOnDisk {
  readonly layerNames: readonly string[];
  readonly use: DiskUse;
}

const imagesKept = 6;
const kept = new Map<string, MeasuredImage>();

/** Images measured lately are remembered, unless asked for `afresh`: each is in many pairs. */
export async function measureImage(names: Names, afresh = false): Promise<MeasuredImage> {
  const key = names.join();
  const known = afresh ? undefined : kept.get(key);
  kept.delete(key);
  const measured = known ?? (await makeAndMeasure(names));
  kept.set(key, measured);
  for (const oldest of [...kept.keys()].slice(0, -imagesKept)) kept.delete(oldest);
  return measured;
}

async function makeAndMeasure(names: Names): Promise<MeasuredImage> {
  await using image = await openLayers(await layerFiles(names));
  const disk = plannedDisk(planDisk(image.tree), image.content);
  const chunks = await storedChunks(disk);
  return {
    layerNames: image.layers.map(({ name }) => name),
    chunks,
    entries: await entriesOf(image),
    use: await readDiskUse(disk, chunks, image),
  };
}

interface Verdict {
  readonly text: string;
  /** Undefined where there is no goal. */
  readonly isReached?: boolean;
}

export interface CaseResult extends Sharing {
  readonly case: Case;
  readonly verdict: Verdict;
  readonly layerNames: readonly string[];
  readonly uses: readonly UseRow[];
  readonly newChunks: readonly NewChunk[];
  readonly others: ReadonlyMap<OtherWriter, Sharing>;
}

export async function runCase(row: Case, withOthers: boolean): Promise<CaseResult> {
  const first = await measureImage(row.first);
  const second = await measureImage(row.second, isSameImage(row));
  const uses = attribute(first, second);
  const sharing = compare(first.chunks, second.chunks);
  return {
    ...sharing,
    case: row,
    verdict: judge(row.goal, { first, second, uses, sharing }),
    layerNames: second.layerNames,
    uses,
    newChunks: newChunks(first, second),
    others: withOthers ? await compareOthers(row) : new Map<OtherWriter, Sharing>(),
  };
}

function isSameImage({ first, second }: Case): boolean {
  return first.join() === second.join();
}

async function compareOthers(row: Case): Promise<Map<OtherWriter, Sharing>> {
  const one = await otherDisks(await layerFiles(row.first), 0);
  const other = await otherDisks(await layerFiles(row.second), isSameImage(row) ? 1 : 0);
  return new Map(otherWriters.map((writer) => [writer, compare(one[writer], other[writer])]));
}

interface Measured {
  readonly first: MeasuredImage;
  readonly second: MeasuredImage;
  readonly uses: readonly UseRow[];
  readonly sharing: Sharing;
}

function judge(goal: Goal, measured: Measured): Verdict {
  switch (goal.kind) {
    case 'none':
      return { text: '' };
    case 'new chunks':
      return judgeNewChunks(goal, measured);
    case 'everything': {
      const { chunks, storedBytes } = measured.sharing;
      const isReached = [chunks, storedBytes].every((one) => sharedShare(one) >= goal.atLeast);
      return { text: `chunks and bytes >= ${percent(goal.atLeast, 0)}`, isReached };
    }
    case 'layers':
      return judgeLayers(goal, measured);
    case 'equal files':
      return judgeEqualFiles(goal, measured);
  }
}

type GoalOf<Kind extends Goal['kind']> = Extract<Goal, { readonly kind: Kind }>;

function judgeNewChunks(goal: GoalOf<'new chunks'>, measured: Measured): Verdict {
  const { second, sharing } = measured;
  const layers = layerIndexes(second.layerNames, goal.ofLayers);
  const own = Math.ceil(contentInBlocks(second.entries, layers) / chunkSizeBytes);
  const { unshared } = sharing.chunks;
  return {
    text: `${unshared} new chunks <= ${own} + ${goal.more}`,
    isReached: unshared <= own + goal.more,
  };
}

const chunkSizeBytes = 2 ** 19;

function judgeLayers(goal: GoalOf<'layers'>, measured: Measured): Verdict {
  const { first, second, uses } = measured;
  const judged = goal.goals.map(({ name, layers, atLeast }) => {
    const indexes = layerIndexes(second.layerNames, layers);
    const share = sharedShare(ofLayers(uses, indexes));
    const bound = sharedShare(changed(first.entries, second.entries, indexes));
    const isReached = share >= atLeast;
    return {
      text: `${name} ${percent(share, 2)} >= ${percent(atLeast, 0)} (bound ${percent(bound, 2)})`,
      isReached,
    };
  });
  return {
    text: judged.map(({ text }) => text).join(', '),
    isReached: judged.every(({ isReached }) => isReached),
  };
}

function judgeEqualFiles(goal: GoalOf<'equal files'>, measured: Measured): Verdict {
  const { first, second } = measured;
  const { layerNames } = second;
  const all = [...layerNames.keys()];
  const layers = goal.ofLayers === undefined ? all : layerIndexes(layerNames, goal.ofLayers);
  const amount = equalFiles(first, second, layers);
  const share = sharedShare(amount);
  return {
    text: `${percent(share)} of ${megabytes(amount.total)} >= ${percent(goal.atLeast, 0)}`,
    isReached: share >= goal.atLeast,
  };
}

/** A stack's layers have its name with a number. */
function layerIndexes(layerNames: readonly string[], names: Names): number[] {
  const isNamed = (layer: string): boolean =>
    names.some((name) => layer === name || layer.startsWith(`${name} `));
  return [...layerNames.keys()].filter((index) => isNamed(layerNames[index] ?? ''));
}
