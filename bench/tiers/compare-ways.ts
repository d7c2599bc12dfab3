/** The ways to keep a chunk in the zone against each other, with one of five servers healthy, slow, stopped and killed. */

import type { OpenPool } from '../../src/chunk/index.ts';
import type { Table } from '../harness.ts';
import type { EcdfPanel } from '../support/ecdf-chart.ts';
import type { LinkShape } from '../support/shaped-link.ts';
import { randomIndexes, type BenchChunk } from './chunks.ts';
import { fill, fourOfFive, fourOfFour, nameOf, oneCopy, type Contender } from './contenders.ts';
import { msText, noReads, quantileMs, ratioText, readSome, type Reads } from './measure-reads.ts';
import { BenchZone, conditions, slowMs, type Condition } from './zone.ts';

export interface CompareOptions {
  readonly chunks: readonly BenchChunk[];
  readonly opener: Pick<OpenPool, 'open'>;
  /** Of four of five stripes under one condition, over all rounds; the others read less, see `compared`. */
  readonly readCount: number;
  readonly rounds: number;
  /** Told what is being measured. */
  readonly progress: (what: string) => void;
}

export interface Comparison {
  readonly table: Table;
  readonly panels: readonly EcdfPanel[];
}

/** With the reads before the next way's turn: the tails of those that wait for a bad server take long to see, and show soon. */
const compared = [
  { make: fourOfFive, turnReads: 125 },
  { make: oneCopy, turnReads: 50 },
  { make: fourOfFour, turnReads: 25 },
] as const;

const sharesShown = [0.5, 0.99, 0.999, 1] as const;

const goals = { badOverHealthy: 1.5, overOneCopy: 1.5 } as const;

interface Entrant {
  readonly way: Contender;
  readonly turnReads: number;
}

type Cells = ReadonlyMap<Condition, ReadonlyMap<Entrant, Reads>>;

const { signal } = new AbortController();
const request = { signal, priority: 'foreground' } as const;

async function readFrom(
  way: Contender,
  chunk: BenchChunk,
  opener: Pick<OpenPool, 'open'>,
): Promise<boolean> {
  const ciphertext = await way.get(nameOf(way, chunk), request);
  if (ciphertext === undefined) return false;
  await opener.open(chunk, ciphertext);
  return true;
}

/** Ways take turns; the one that begins changes. The first reads after a server went bad belong to the measurement. */
async function measureCondition(
  entrants: ReadonlyMap<Entrant, Reads>,
  options: CompareOptions & { readonly count: number },
  seed: number,
): Promise<void> {
  const order = [...entrants];
  const turns = Math.ceil(options.count / compared[0].turnReads);
  for (let turn = 0; turn < turns; turn += 1) {
    for (const [{ way, turnReads }, reads] of order) {
      const nextIndex = randomIndexes(seed * 1000 + turn, options.chunks.length);
      const run = { ...options, count: turnReads, nextIndex };
      await readSome(reads, (chunk) => readFrom(way, chunk, options.opener), run);
    }
    order.push(...order.splice(0, 1));
  }
}

/** Round after round, so that what else the machine does meets all conditions alike; a server that was killed is empty, so that comes last. */
export async function compareWays(
  linkName: string,
  shape: LinkShape,
  options: CompareOptions,
): Promise<Comparison> {
  const { readCount, rounds, progress } = options;
  await using zone = await BenchZone.start(shape);
  await using ways = new AsyncDisposableStack();
  const entrants = compared.map(({ make, turnReads }) => ({
    way: ways.use(make(zone.places)),
    turnReads,
  }));
  const cells: Cells = new Map(
    conditions.map((condition) => [condition, new Map(entrants.map((one) => [one, noReads()]))]),
  );
  progress(`${linkName}: filling`);
  for (const { way } of entrants) await fill(way, options.chunks);
  for (let round = 0; round < rounds; round += 1) {
    for (const [condition, reads] of cells) {
      const isLast = round === rounds - 1;
      if (condition === 'killed' && !isLast) continue;
      progress(`${linkName}: round ${round + 1} of ${rounds}, ${condition}`);
      await zone.worsen(condition);
      const count = condition === 'killed' ? readCount : Math.ceil(readCount / rounds);
      await measureCondition(reads, { ...options, count }, round + 1);
      if (condition === 'killed') continue;
      await zone.heal(condition);
      for (const { way } of entrants) await way.recovered();
    }
  }
  return { table: tableOf(linkName, cells), panels: panelsOf(cells) };
}

function wordsOf(condition: Condition): string {
  switch (condition) {
    case 'healthy':
      return 'five healthy servers';
    case 'slow':
      return `one ${slowMs} ms late`;
    case 'stopped':
      return 'one stopped (SIGSTOP)';
    case 'killed':
      return 'one killed';
  }
}

function panelsOf(cells: Cells): EcdfPanel[] {
  return [...cells].map(([condition, reads]) => ({
    title: wordsOf(condition),
    series: [...reads].map(([{ way }, { samplesMs }]) => ({ name: way.name, samplesMs })),
  }));
}

/** Ratios: of p50 to that of one copy under the same condition, of p99.9 to the way's own in health. */
function tableOf(linkName: string, cells: Cells): Table {
  const rows = [...cells].flatMap(([condition, entrants]) => {
    const copy = [...entrants].find(([{ way }]) => way.name === 'one copy')?.[1] ?? noReads();
    return [...entrants].map(([entrant, reads]) => {
      const healthy = cells.get('healthy')?.get(entrant) ?? noReads();
      return [
        wordsOf(condition),
        entrant.way.name,
        String(reads.samplesMs.length),
        String(reads.failed),
        ...sharesShown.map((share) => msText(quantileMs(reads, share))),
        ratioText(quantileMs(reads, 0.5), quantileMs(copy, 0.5)),
        ratioText(quantileMs(reads, 0.999), quantileMs(healthy, 0.999)),
      ];
    });
  });
  const title =
    `Reads of the zone over ${linkName}, one at a time, ms. Goals for 4 of 5: none failed, healthy p50 at most ` +
    `${goals.overOneCopy} of one copy's, p99.9 with a bad server at most ${goals.badOverHealthy} of its healthy one`;
  const columns = ['zone', 'way', 'reads', 'failed', 'p50', 'p99', 'p99.9', 'max'];
  return { title, columns: [...columns, 'p50/one copy', 'p99.9/healthy'], rows };
}
