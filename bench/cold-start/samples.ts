/**
 * Samples as lines of JSON in one file: a run that is cut short goes on where it was, and reports are made of them again at any time. Each says what was measured;
 * those of other code or another link stay in the file and count for nothing.
 */

import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';

import { errorCode } from '../../src/base/index.ts';
import type { Measurement } from './measurement.ts';
import { pullsEachTime, type Measured, type SystemId } from './systems.ts';

export interface Sample extends Measured {
  readonly measurement: Measurement;
  /** Its name, as in `shapes`. */
  readonly link: string;
  readonly app: string;
  readonly system: SystemId;
  /** ISO 8601. */
  readonly at: string;
  /** What the link took of one processor meanwhile, ms. */
  readonly linkProcessorMs: number;
}

export type CellId = Pick<Sample, 'link' | 'app' | 'system'>;

/** What takes seconds needs no more samples than these once its median is known to 15 %. */
const slowSamplesMin = 5;
const medianErrorMax = 0.15;

/** Whether a cell needs no more; of samples of one cell. */
export function areEnough(samples: readonly Sample[], wanted: number): boolean {
  const [first] = samples;
  if (first === undefined) return wanted <= 0;
  if (samples.length >= wanted) return true;
  if (samples.length < slowSamplesMin || !pullsEachTime.has(first.system)) return false;
  const times = samples.map(({ elapsedMs }) => elapsedMs);
  // 95 % of the median, as the notches of a box plot have it (McGill, Tukey and Larsen, 1978).
  const quartiles = quantile(times, 0.75) - quantile(times, 0.25);
  const error = (1.57 * quartiles) / Math.sqrt(times.length);
  return error <= medianErrorMax * quantile(times, 0.5);
}

/** What Thaw's code cannot change and takes long counts whatever the code was. */
function counts(sample: Sample, { code, link, method }: Measurement): boolean {
  // Those of the oldest files do not say.
  const of = sample.measurement as Measurement | undefined;
  if (of?.link !== link || of.method !== method) return false;
  return of.code === code || pullsEachTime.has(sample.system);
}

export class SampleFile {
  readonly #path: string;
  readonly #measurement: Measurement;
  readonly #samples: Sample[];

  private constructor(path: string, measurement: Measurement, samples: Sample[]) {
    this.#path = path;
    this.#measurement = measurement;
    this.#samples = samples;
  }

  /** With what counts for `measurement`; by default, for that of the last sample. */
  static async open(path: string, measurement?: Measurement): Promise<SampleFile> {
    await mkdir(dirname(path), { recursive: true });
    const text = await readFile(path, 'utf8').catch((thrown: unknown) => {
      if (errorCode(thrown) === 'ENOENT') return '';
      throw thrown;
    });
    const lines = text.split('\n').filter((line) => line !== '');
    const all = lines.map((line) => JSON.parse(line) as Sample);
    const of = measurement ?? all.findLast(({ system }) => !pullsEachTime.has(system))?.measurement;
    if (of === undefined) throw new Error(`Nothing says what "${path}" was measured of`);
    return new SampleFile(
      path,
      of,
      all.filter((sample) => counts(sample, of)),
    );
  }

  get measurement(): Measurement {
    return this.#measurement;
  }

  /** That count. */
  get all(): readonly Sample[] {
    return this.#samples;
  }

  of({ link, app, system }: CellId): readonly Sample[] {
    return this.#samples.filter(
      (sample) => sample.link === link && sample.app === app && sample.system === system,
    );
  }

  async add(found: Omit<Sample, 'measurement'>): Promise<void> {
    const sample = { ...found, measurement: this.#measurement };
    this.#samples.push(sample);
    await appendFile(this.#path, `${JSON.stringify(sample)}\n`);
  }
}

/** Of sorted or unsorted values, by nearest rank; NaN of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(Math.ceil(sorted.length * share) - 1, 0)] ?? NaN;
}
