/** Whole numbers in options. */

import { InvalidArgumentError } from 'commander';

/** Of up to nine digits. Throws as commander wants it. */
export function parseInteger(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}
