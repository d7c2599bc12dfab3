/** Samples as lines of JSON in one file: a run that is cut short goes on where it was, and reports are made of them again at any time. */

import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';

import { errorCode } from '../../src/base/index.ts';
import type { Measured, SystemId } from './systems.ts';

export interface Sample extends Measured {
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

export class SampleFile {
  readonly #path: string;
  readonly #samples: Sample[];

  private constructor(path: string, samples: Sample[]) {
    this.#path = path;
    this.#samples = samples;
  }

  static async open(path: string): Promise<SampleFile> {
    await mkdir(dirname(path), { recursive: true });
    const text = await readFile(path, 'utf8').catch((thrown: unknown) => {
      if (errorCode(thrown) === 'ENOENT') return '';
      throw thrown;
    });
    const lines = text.split('\n').filter((line) => line !== '');
    return new SampleFile(
      path,
      lines.map((line) => JSON.parse(line) as Sample),
    );
  }

  get all(): readonly Sample[] {
    return this.#samples;
  }

  of({ link, app, system }: CellId): readonly Sample[] {
    return this.#samples.filter(
      (sample) => sample.link === link && sample.app === app && sample.system === system,
    );
  }

  async add(sample: Sample): Promise<void> {
    this.#samples.push(sample);
    await appendFile(this.#path, `${JSON.stringify(sample)}\n`);
  }
}

/** Of sorted or unsorted values, by nearest rank; NaN of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(Math.ceil(sorted.length * share) - 1, 0)] ?? NaN;
}
