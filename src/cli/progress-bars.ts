/** Draws progress on a terminal's last line; says nothing for work that is over within a second. */

import type { ProgressReporter, ProgressUpdate } from '../base/index.ts';
import { formatBytes } from './format.ts';

const quietMs = 1_000;
const redrawMs = 100;
const barWidth = 24;
const labelWidth = 26;

/** One bar at a time: the one that moved last. Call `clear` before anything else is written. */
export class ProgressBars {
  readonly #stream: NodeJS.WriteStream;
  readonly #startedMs = new Map<string, number>();
  #drawnMs = 0;
  #isShown = false;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  readonly report: ProgressReporter = (update) => {
    if (!this.#stream.isTTY) return;
    const now = performance.now();
    const started = this.#startedMs.get(update.label) ?? now;
    this.#startedMs.set(update.label, started);
    const isOver = update.done === update.total;
    if (now - started < quietMs || (now - this.#drawnMs < redrawMs && !isOver)) return;
    this.#drawnMs = now;
    this.#isShown = true;
    this.#stream.write(`\r\u001B[K${progressLine(update, this.#stream.columns)}`);
  };

  clear(): void {
    if (this.#isShown) this.#stream.write('\r\u001B[K');
    this.#isShown = false;
  }
}

function progressLine(update: ProgressUpdate, columns: number): string {
  const amount = (value: number): string =>
    update.unit === 'bytes' ? formatBytes(value) : `${value}`;
  const counted =
    update.total === undefined
      ? amount(update.done)
      : `${amount(update.done)} of ${amount(update.total)}`;
  const unit = update.unit === 'bytes' ? '' : ` ${update.unit}`;
  const filled =
    update.total === undefined || update.total === 0
      ? 0
      : Math.round((barWidth * update.done) / update.total);
  const bar = update.total === undefined ? '' : `[${'#'.repeat(filled).padEnd(barWidth, '.')}] `;
  return `${update.label.slice(0, labelWidth).padEnd(labelWidth)} ${bar}${counted}${unit}`.slice(
    0,
    columns - 1,
  );
}
