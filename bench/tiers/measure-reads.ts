/** Reads, timed from the question to the opened chunk, in rounds so that what disturbs the machine meets all alike. */

import type { BenchChunk } from './chunks.ts';

/** The times of reads. One that failed never gave what was asked for, whenever that became known: it took for ever. */
export interface Reads {
  readonly samplesMs: number[];
  failed: number;
}

/** Resolves when a chunk is there, verified and decrypted; false or an error where it is not. */
export type ReadChunk = (chunk: BenchChunk) => Promise<boolean>;

export interface ReadRun {
  readonly chunks: readonly BenchChunk[];
  readonly count: number;
  readonly nextIndex: () => number;
}

export function noReads(): Reads {
  return { samplesMs: [], failed: 0 };
}

/** One read after another. */
export async function readSome(into: Reads, read: ReadChunk, run: ReadRun): Promise<void> {
  for (let count = 0; count < run.count; count += 1) {
    const chunk = run.chunks[run.nextIndex() % run.chunks.length];
    if (chunk === undefined) return;
    const startedMs = performance.now();
    const isRead = await read(chunk).catch(() => false);
    if (!isRead) into.failed += 1;
    into.samplesMs.push(isRead ? performance.now() - startedMs : Infinity);
  }
}

/** The time that a share of the reads did not exceed. */
export function quantileMs({ samplesMs }: Reads, share: number): number {
  const sorted = samplesMs.toSorted((a, b) => a - b);
  return sorted[Math.min(Math.ceil(sorted.length * share), sorted.length) - 1] ?? NaN;
}

/** Milliseconds for a table; the time of a read that failed is none. */
export function msText(ms: number): string {
  return Number.isFinite(ms) ? ms.toFixed(2) : 'failed';
}

/** A ratio for a table. */
export function ratioText(of: number, to: number): string {
  return Number.isFinite(of / to) ? (of / to).toFixed(2) : '–';
}
