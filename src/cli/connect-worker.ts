/**
 * Finds the worker for a command. The rooms are loaded only here, when a command needs a worker: that takes longer than all
 * else that most commands do.
 */

import type { Worker } from '../api/index.ts';
import { isListening, type Log } from '../base/index.ts';
import { pathsOf, type Config } from './config.ts';

/** The server's worker where `thaw serve` runs, else one in this process. */
export async function connectWorker(config: Config, log: Log): Promise<Worker> {
  const { serveSocket } = pathsOf(config);
  if (await isListening(serveSocket)) {
    const { workerAt } = await import('../api/index.ts');
    return workerAt(serveSocket);
  }
  const { createWorker } = await import('./compose.ts');
  return await createWorker(config, log, { agentLife: 'while-used' });
}
