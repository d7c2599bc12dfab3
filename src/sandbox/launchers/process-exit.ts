/** How a child ended, from what Node says about it. */

import type { ProcessExit } from '../sandbox.ts';

/** Either is null, as the 'exit' event has it. */
export function processExit(code: number | null, signal: NodeJS.Signals | null): ProcessExit {
  return { ...(code === null ? {} : { status: code }), ...(signal === null ? {} : { signal }) };
}
