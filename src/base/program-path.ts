/** Finds programs without running them. */

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The path of `program` on PATH, or undefined if there is none that may be run. */
export function programPath(
  program: string,
  environment: NodeJS.ProcessEnv = process.env,
): string | undefined {
  const { PATH: searchPath = '' } = environment;
  const candidates = searchPath.split(delimiter).map((directory) => join(directory, program));
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
