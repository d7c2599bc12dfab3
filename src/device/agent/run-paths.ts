/** What lies in a worker's run directory: all of it is of one boot, none of it needs to survive. */

import { join } from 'node:path';

export interface RunPaths {
  /** Locked by the holder as long as it lives. */
  readonly lockFile: string;
  /** The agent's; mode 0600. */
  readonly controlSocket: string;
  /** The FUSE mount: a file per open image. */
  readonly imagesDir: string;
  /** What one agent leaves to the next. */
  readonly stateDir: string;
  /** What was written to writable images. */
  readonly overlayDir: string;
  /** Node's, so that the next agent is there sooner: its modules load four times as fast. */
  readonly compileCacheDir: string;
  /** What a detached holder and its agents say. */
  readonly logFile: string;
}

export function runPaths(runDir: string): RunPaths {
  return {
    lockFile: join(runDir, 'holder.lock'),
    controlSocket: join(runDir, 'agent.sock'),
    imagesDir: join(runDir, 'images'),
    stateDir: join(runDir, 'agent-state'),
    overlayDir: join(runDir, 'overlays'),
    compileCacheDir: join(runDir, 'compile-cache'),
    logFile: join(runDir, 'agent.log'),
  };
}
