/**
 * Benchmarks that hold on a busy machine: contenders run in turn, round after round, and what counts is the ratio
 * of two neighbours in one round, not a time. The order turns by one each round, so that no contender always
 * runs in the wake of the same other. No test asserts a time; tests are for behaviour.
 */

/** One way of doing the work. */
export interface Contender {
  readonly name: string;
  /** The name of the contender that this one is divided by. Default: the first. */
  readonly against?: string;
  /** Does the whole work once. Its result must be used or returned, so that no engine can leave the work out. */
  readonly run: () => unknown;
}

/** What a bench has made ready; disposed of at the end. */
export interface Prepared {
  readonly contenders: readonly Contender[];
  /** Handled by one run, if a throughput means something. */
  readonly bytesPerRun?: number;
  readonly dispose?: () => Promise<void>;
}

/** `bench/NAME.bench.ts` exports one as `bench`. */
export interface Bench {
  readonly title: string;
  /** Counted rounds, after one that is not. Default 15. */
  readonly rounds?: number;
  readonly prepare: () => Promise<Prepared>;
}

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** A benchmark whose figures are not times: `bench/NAME.bench.ts` exports one as `report`. */
export interface Report {
  readonly title: string;
  /** `args` are the command line's after the benchmark's name, `--json` left out. */
  readonly run: (args: readonly string[]) => Promise<readonly Table[]>;
}

export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

export interface ContenderResult {
  readonly name: string;
  readonly timeMs: Spread;
  /** This contender's time divided by the one of `against` in the same round: below 1 is faster. */
  readonly ratio: Spread;
  readonly mebibytesPerSecond?: number;
}

export interface BenchResult {
  readonly title: string;
  readonly rounds: number;
  readonly contenders: readonly ContenderResult[];
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.round((sorted.length - 1) * share)] ?? NaN;
  return { min: at(0), median: at(0.5), max: at(1) };
}

/** Milliseconds by contender, then by round. */
async function measure(contenders: readonly Contender[], rounds: number): Promise<number[][]> {
  const timesMs: number[][] = contenders.map(() => []);
  for (let round = -1; round < rounds; round += 1) {
    for (let turn = 0; turn < contenders.length; turn += 1) {
      const index = (turn + round + 1) % contenders.length;
      const startedMs = performance.now();
      await contenders[index]?.run();
      if (round >= 0) timesMs[index]?.push(performance.now() - startedMs);
    }
  }
  return timesMs;
}

/** Runs a bench to its end. */
export async function runBench(bench: Bench): Promise<BenchResult> {
  const rounds = bench.rounds ?? 15;
  const { contenders, bytesPerRun, dispose } = await bench.prepare();
  try {
    const timesMs = await measure(contenders, rounds);
    const timesOf = (name: string | undefined): number[] => {
      const index = contenders.findIndex((contender) => contender.name === name);
      return timesMs[Math.max(index, 0)] ?? [];
    };
    const results = contenders.map(({ name, against }): ContenderResult => {
      const times = timesOf(name);
      const reference = timesOf(against);
      const timeMs = spread(times);
      const ratio = spread(times.map((time, round) => time / (reference[round] ?? NaN)));
      if (bytesPerRun === undefined) return { name, timeMs, ratio };
      return {
        name,
        timeMs,
        ratio,
        mebibytesPerSecond: bytesPerRun / 2 ** 20 / (timeMs.median / 1000),
      };
    });
    return { title: bench.title, rounds, contenders: results };
  } finally {
    await dispose?.();
  }
}
