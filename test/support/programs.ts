/** Which programs of the system the tests can use. */

import { programPath } from '../../src/base/index.ts';

/** For a test's `skip`: false where all the programs are on PATH, else the reason, which begins with `needs `. */
export function needsPrograms(...names: readonly string[]): string | false {
  const missing = names.filter((name) => programPath(name) === undefined);
  return missing.length === 0 ? false : `needs ${missing.join(' and ')}`;
}
