/** Which programs of the system the tests can use. */

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

function isRunnable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** For a test's `skip`: false where all the programs are on PATH, else the reason, which begins with `needs `. */
export function needsPrograms(...names: readonly string[]): string | false {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const missing = names.filter((name) => !folders.some((folder) => isRunnable(join(folder, name))));
  return missing.length === 0 ? false : `needs ${missing.join(' and ')}`;
}
