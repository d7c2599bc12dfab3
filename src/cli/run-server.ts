/** `thaw serve`: the long-running worker behind its socket. */

import { mkdir } from 'node:fs/promises';
import { once } from 'node:events';

import { serveWorker } from '../api/index.ts';
import { createWorker } from './compose.ts';
import { checkRunDir, pathsOf } from './config.ts';
import type { CliContext } from './context.ts';

/** Ends after the first signal when the calls under way have ended, after the second at once. */
export async function runServer(context: CliContext): Promise<void> {
  const { config, log, signal, secondSignal } = context;
  checkRunDir(config);
  const { serveSocket } = pathsOf(config);
  await mkdir(config.runDir, { recursive: true, mode: 0o700 });
  await using worker = await createWorker(config, log, { agentLife: 'lasting' });
  await using _server = await serveWorker(worker, serveSocket, secondSignal);
  log.info('serving', { socket: serveSocket, root: config.root });
  if (!signal.aborted) await once(signal, 'abort');
  log.info('stopping when the calls under way have ended; a second signal ends them');
}
