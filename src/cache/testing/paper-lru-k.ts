/**
 * Figure 2.1 of O'Neil, O'Neil, Weikum (SIGMOD 1993) written down as it stands, for K = 2: every choice looks at every page. What
 * the paper leaves open is settled as in `LruK`: see there.
 */

import type { LruKOptions } from '../replacement/lru-k.ts';

export interface PaperOptions extends LruKOptions {
  readonly frameCount: number;
}

const K = 2;

export class PaperLruK {
  readonly #options: PaperOptions;
  readonly #buffer = new Set<string>();
  /** HIST(p,1) .. HIST(p,K) at 1 .. K. */
  readonly #HIST = new Map<string, number[]>();
  readonly #LAST = new Map<string, number>();
  #evicted: string[] = [];

  constructor(options: PaperOptions) {
    this.#options = options;
  }

  resident(): string[] {
    return [...this.#buffer];
  }

  /** True if p was in the buffer. */
  reference(p: string, t: number): boolean {
    const HIST = this.#HIST.get(p) ?? [];
    if (this.#buffer.has(p)) {
      const LAST = this.#lastOf(p);
      if (t - LAST > this.#options.correlatedMs) {
        const correlationPeriodOfReferencedPage = LAST - (HIST[1] ?? 0);
        for (let i = K; i >= 2; i -= 1) {
          HIST[i] = (HIST[i - 1] ?? 0) + correlationPeriodOfReferencedPage;
        }
        HIST[1] = t;
      }
      this.#LAST.set(p, t);
      return true;
    }
    if (this.#buffer.size === this.#options.frameCount) this.#replace(t);
    this.#purge(p, t);
    const known = this.#HIST.get(p);
    const fetched = known ?? [];
    for (let i = K; i >= 2; i -= 1) {
      fetched[i] = known === undefined ? -Infinity : (known[i - 1] ?? 0);
    }
    fetched[1] = t;
    this.#HIST.set(p, fetched);
    this.#LAST.set(p, t);
    this.#buffer.add(p);
    this.#evicted = this.#evicted.filter((q) => q !== p);
    return false;
  }

  #replace(t: number): void {
    const { correlatedMs, protectedShareMax, historyMax } = this.#options;
    const all = [...this.#buffer];
    const eligible = all.filter((q) => t - this.#lastOf(q) > correlatedMs);
    const protectedCount = all.length - eligible.length;
    const isLimited = protectedCount > protectedShareMax * all.length;
    const candidates = isLimited || eligible.length === 0 ? all : eligible;
    let victim = candidates[0] ?? '';
    for (const q of candidates) {
      const [min, own] = [this.#HIST.get(victim)?.[K] ?? 0, this.#HIST.get(q)?.[K] ?? 0];
      if (own < min || (own === min && this.#lastOf(q) < this.#lastOf(victim))) victim = q;
    }
    this.#buffer.delete(victim);
    this.#evicted.push(victim);
    while (this.#evicted.length > historyMax) this.#HIST.delete(this.#evicted.shift() ?? '');
  }

  /** The demon of section 2.1.2, as far as anybody can tell: it comes for p before p is looked at. */
  #purge(p: string, t: number): void {
    if (t - this.#lastOf(p) > this.#options.retainedMs) this.#HIST.delete(p);
  }

  #lastOf(p: string): number {
    return this.#LAST.get(p) ?? -Infinity;
  }
}
