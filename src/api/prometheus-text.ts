/**
 * Metrics in Prometheus's text format, version 0.0.4: `# HELP`, `# TYPE`, then a line a sample. Source: Prometheus
 * documentation, "Exposition formats" and "Metric and label naming".
 */

import { latencyBoundsMs, type LatencySnapshot } from '../base/index.ts';

export type Labels = Readonly<Record<string, string>>;

/** A value of a metric; a counter's or a gauge's. */
export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
}

export interface LatencySample {
  readonly labels?: Labels;
  readonly latency: LatencySnapshot;
}

/** Line ends and backslashes are escaped everywhere, quotes in label values only. */
function escaped(text: string): string {
  return text.replaceAll('\\', String.raw`\\`).replaceAll('\n', String.raw`\n`);
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${escaped(value).replaceAll('"', String.raw`\"`)}"`,
  );
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function numberText(value: number): string {
  if (value === Infinity) return '+Inf';
  return value === -Infinity ? '-Inf' : String(value);
}

export class PrometheusText {
  readonly #lines: string[] = [];

  /** Counters' names end in `_total`. `HELP` ends without a full stop, as is the custom. */
  counter(name: string, help: string, samples: readonly Sample[]): this {
    return this.#family(name, 'counter', help, samples);
  }

  gauge(name: string, help: string, samples: readonly Sample[]): this {
    return this.#family(name, 'gauge', help, samples);
  }

  /** In seconds, which the name says. */
  histogram(name: string, help: string, samples: readonly LatencySample[]): this {
    this.#head(name, 'histogram', help);
    for (const { labels = {}, latency } of samples) {
      const { cumulative, count, sumMs } = latency;
      for (const [index, boundMs] of latencyBoundsMs.entries()) {
        const le = numberText(boundMs / 1000);
        this.#sample(`${name}_bucket`, { ...labels, le }, cumulative[index] ?? 0);
      }
      this.#sample(`${name}_bucket`, { ...labels, le: '+Inf' }, count);
      this.#sample(`${name}_sum`, labels, sumMs / 1000);
      this.#sample(`${name}_count`, labels, count);
    }
    return this;
  }

  toString(): string {
    return this.#lines.join('');
  }

  #family(name: string, type: string, help: string, samples: readonly Sample[]): this {
    this.#head(name, type, help);
    for (const { labels = {}, value } of samples) this.#sample(name, labels, value);
    return this;
  }

  #head(name: string, type: string, help: string): void {
    this.#lines.push(`# HELP ${name} ${escaped(help)}\n# TYPE ${name} ${type}\n`);
  }

  #sample(name: string, labels: Labels, value: number): void {
    this.#lines.push(`${name}${labelText(labels)} ${numberText(value)}\n`);
  }
}
