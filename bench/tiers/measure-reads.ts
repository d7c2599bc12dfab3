/** Reads, timed from the question to the opened chunk, in rounds so that what disturbs the machine meets all alike. */

import type { OpenPool } from '../../src/chunk/index.ts';
import type { BenchChunk } from './chunks.ts';

/** The times of reads. One that failed never gave what was asked for, whenever that became known: it took for ever. */
export interface Reads {
  readonly samplesMs: number[];
  failed: number;
}

/** Gives a chunk's ciphertext, or undefined or an error where there is none to be had. */
export type ReadChunk = (chunk: BenchChunk) => Promise<Uint8Array | undefined>;

export interface ReadRun {
  readonly chunks: readonly BenchChunk[];
  readonly count: number;
  readonly nextIndex: () => number;
  readonly opener: Pick<OpenPool, 'open'>;
}

export function noReads(): Reads {
  return { samplesMs: [], failed: 0 };
}

async function readOne(
  chunk: BenchChunk,
  read: ReadChunk,
  opener: Pick<OpenPool, 'open'>,
): Promise<boolean> {
  try {
    const ciphertext = await read(chunk);
    if (ciphertext === undefined) return false;
    await opener.open(chunk, ciphertext);
    return true;
  } catch {
    return false;
  }
}

/** One read after another, each verified and decrypted. */
export async function readSome(into: Reads, read: ReadChunk, run: ReadRun): Promise<void> {
  for (let count = 0; count < run.count; count += 1) {
    const chunk = run.chunks[run.nextIndex() % run.chunks.length];
    if (chunk === undefined) return;
    const startedMs = performance.now();
    const isRead = await readOne(chunk, read, run.opener);
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
