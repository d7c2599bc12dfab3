/** The contract of the functions room: functions managed and functions run. */

import type { FunctionControl, FunctionRef } from './function-control.ts';
import type { FunctionRuns } from './function-runs.ts';

export interface FunctionService extends FunctionControl, FunctionRuns {
  /** Goes on with the code that an earlier server was still publishing; without it, not. */
  takeUpPublications(): Promise<void>;
  /** Resolves when no code is being published in the background, for that function or at all. */
  publicationsSettled(of?: Pick<FunctionRef, 'tenant' | 'name'>): Promise<void>;
  /**
   * Initialises a new instance of the version, without an invoke, and ends it: the image has a start profile then. A
   * failure of the function is in its log. Throws as `invoke`.
   */
  initialise(of: FunctionRef): Promise<void>;
}
