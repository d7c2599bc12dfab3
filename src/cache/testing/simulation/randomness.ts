/** Draws of a seeded source. */

/** At least 0, less than 1. */
export type Random = () => number;

/** 0 .. `end` - 1. */
export function below(random: Random, end: number): number {
  return Math.floor(random() * end);
}

export function oneOf<T>(random: Random, choices: readonly T[]): T {
  const chosen = choices[below(random, choices.length)];
  if (chosen === undefined) throw new RangeError('There is nothing to choose from');
  return chosen;
}

/** With the given median; `sigma` of the logarithm. Box and Muller's way to a normal draw. */
export function logNormal(random: Random, median: number, sigma: number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return median * Math.exp(sigma * normal);
}

/** 0 .. `count` - 1, of which the first are drawn far more often: by Zipf's law with exponent 1. */
export function zipf(random: Random, count: number): number {
  return Math.min(count - 1, Math.floor((count + 1) ** random() - 1));
}

/** A copy with one bit flipped, or cut short. */
export function damaged(random: Random, bytes: Uint8Array): Uint8Array {
  const at = below(random, bytes.byteLength);
  if (random() < 0.3) return bytes.slice(0, at);
  const copy = new Uint8Array(bytes);
  copy[at] = (copy[at] ?? 0) ^ (1 << below(random, 8));
  return copy;
}
