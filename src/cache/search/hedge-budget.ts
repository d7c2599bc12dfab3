/**
 * How many reads may ask a second tier while the first has not answered. Asking twice hides one slow answer; when all answers
 * are slow it doubles the load of whoever is next, and a tier that is slow because of load stays so. Hence a
 * share of the reads, as a token bucket (paper §4.1: retries to hide failures are known to cause metastable ones).
 */

/** Of all reads, so many may hedge. */
const share = 0.05;
/** Of the bucket: what a short stall may use up at once. */
const tokensMax = 10;

export class HedgeBudget {
  #tokens = tokensMax;

  /** For a read that begins. */
  earn(): void {
    this.#tokens = Math.min(tokensMax, this.#tokens + share);
  }

  /** True if a read may hedge now. */
  take(): boolean {
    // Twenty shares of a twentieth sum up to a hair less than one.
    if (this.#tokens < 1 - 1e-9) return false;
    this.#tokens = Math.max(0, this.#tokens - 1);
    return true;
  }
}
