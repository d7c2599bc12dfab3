/** How one `thaw` process starts another. */

import { fileURLToPath } from 'node:url';

import { neighbourModule } from '../base/index.ts';
import type { Config } from './config.ts';

/**
 * The program and arguments of `thaw ARGS…` on the Node and the state directory of this process. The configuration is
 * handed on as it stands here, so that a file edited meanwhile does not set the two apart.
 */
export function thawCommand(
  config: Config,
  args: readonly string[],
): readonly [program: string, ...args: string[]] {
  const main = fileURLToPath(neighbourModule(import.meta.url, 'main'));
  return [process.execPath, main, '--settings', JSON.stringify(config), ...args];
}
