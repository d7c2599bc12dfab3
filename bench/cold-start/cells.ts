/** Samples summed up, a cell for each function, system and link. */

import { quantile, type CellId, type Sample } from './samples.ts';
import { systemIds, type SystemId } from './systems.ts';
import { apps } from './apps.ts';

export interface Cell extends CellId {
  readonly samples: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  /** The median of each, over the samples that have it. */
  readonly phasesMs: Readonly<Record<string, number>>;
  /** Means, since single ones are to 10 ms; of Thaw's starts. */
  readonly processorMs?: Readonly<Record<string, number>>;
  /** Medians; of Thaw's starts. */
  readonly chunks?: number;
  readonly bytes?: number;
  /** Chunks by the tier that they came from, medians. */
  readonly chunksByTier?: Readonly<Record<string, number>>;
  /** What the link took of the machine's processors meanwhile, 0 to 1, median. */
  readonly linkShare: number;
}

/** As the machines are that this is made for. */
const processors = 2;

function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

function phaseMedians(samples: readonly Sample[]): Record<string, number> {
  const names = new Set(samples.flatMap(({ phasesMs }) => Object.keys(phasesMs)));
  return Object.fromEntries(
    [...names].map((name) => {
      const values = samples.map(({ phasesMs }) => phasesMs[name] ?? 0);
      return [name, median(values)];
    }),
  );
}

function processorMeans(samples: readonly Sample[]): Pick<Cell, 'processorMs'> | undefined {
  const all = samples.map(({ processorMs }) => processorMs).filter((one) => one !== undefined);
  if (all.length === 0) return undefined;
  const parts = new Set(all.flatMap((one) => Object.keys(one)));
  const means = [...parts].map((part) => {
    const sum = all.reduce((total, one) => total + (one[part] ?? 0), 0);
    return [part, sum / all.length] as const;
  });
  return { processorMs: Object.fromEntries(means) };
}

function readMedians(
  samples: readonly Sample[],
): Pick<Cell, 'chunks' | 'bytes' | 'chunksByTier'> | undefined {
  const reads = samples.flatMap((sample) => sample.reads ?? []);
  if (reads.length === 0) return undefined;
  const tiers = Object.keys(reads[0]?.byTier ?? {});
  return {
    chunks: median(reads.map(({ chunks }) => chunks)),
    bytes: median(reads.map(({ bytes }) => bytes)),
    chunksByTier: Object.fromEntries(
      tiers.map((tier) => [tier, median(reads.map(({ byTier }) => byTier[tier]?.chunks ?? 0))]),
    ),
  };
}

function cellOf(id: CellId, samples: readonly Sample[]): Cell {
  const times = samples.map(({ elapsedMs }) => elapsedMs);
  const shares = samples.map((sample) => sample.linkProcessorMs / sample.elapsedMs / processors);
  return {
    ...id,
    samples: samples.length,
    p50Ms: median(times),
    p90Ms: quantile(times, 0.9),
    p99Ms: quantile(times, 0.99),
    phasesMs: phaseMedians(samples),
    ...processorMeans(samples),
    ...readMedians(samples),
    linkShare: median(shares),
  };
}

/** In the order of apps and systems. */
export class Cells {
  readonly all: readonly Cell[];
  /** Names of links, in the order of their first samples. */
  readonly links: readonly string[];

  constructor(samples: readonly Sample[]) {
    this.links = [...new Set(samples.map(({ link }) => link))];
    const groups = Map.groupBy(samples, ({ link, app, system }) => `${link} ${app} ${system}`);
    this.all = this.links.flatMap((link) =>
      apps.flatMap(({ id: app }) =>
        systemIds.flatMap((system) => {
          const group = groups.get(`${link} ${app} ${system}`);
          return group === undefined ? [] : [cellOf({ link, app, system }, group)];
        }),
      ),
    );
  }

  find(link: string, app: string, system: SystemId): Cell | undefined {
    return this.all.find(
      (cell) => cell.link === link && cell.app === app && cell.system === system,
    );
  }
}
