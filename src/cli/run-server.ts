/** `thaw serve`: the long-running worker behind its socket. */

import { mkdir } from 'node:fs/promises';
import { once } from 'node:events';

import { workerMetrics, serveWorker, type Worker } from '../api/index.ts';
import { errorMessage, serveText, type Log, type TextPages } from '../base/index.ts';
import { createWorker } from './compose.ts';
import { checkRunDir, pathsOf, type Config } from './config.ts';
import type { CliContext } from './context.ts';
import { EnvironmentError } from './errors.ts';

/** Ends after the first signal when the calls under way have ended, after the second at once. */
export async function runServer(context: CliContext): Promise<void> {
  const { config, log, signal, secondSignal } = context;
  checkRunDir(config);
  const { serveSocket } = pathsOf(config);
  await mkdir(config.runDir, { recursive: true, mode: 0o700 });
  await using worker = await createWorker(config, log, { agentLife: 'lasting' });
  const pages = { '/metrics': async () => metricsOf(worker, log) };
  await using _server = await serveWorker(worker, serveSocket, { stopNow: secondSignal, pages });
  await using _metrics = await serveMetrics(config, pages);
  log.info('serving', { socket: serveSocket, root: config.root });
  if (!signal.aborted) await once(signal, 'abort');
  log.info('stopping when the calls under way have ended; a second signal ends them');
}

async function metricsOf(worker: Worker, log: Log): Promise<string> {
  try {
    const [caches, starts] = await Promise.all([worker.cacheStatus(), worker.startLimits()]);
    return workerMetrics({ caches, starts });
  } catch (thrown) {
    log.warn('Cannot tell metrics', { reason: errorMessage(thrown) });
    throw thrown;
  }
}

/** Where the configuration wants them besides the socket. */
async function serveMetrics(
  { metricsListen }: Config,
  pages: TextPages,
): Promise<AsyncDisposable | undefined> {
  if (metricsListen === undefined) return undefined;
  const { hostname, port } = new URL(`http://${metricsListen}`);
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  try {
    // A URL leaves out the port that it takes for granted.
    return await serveText({ host, port: Number(port === '' ? 80 : port) }, pages);
  } catch (thrown) {
    throw new EnvironmentError(
      `Cannot serve metrics on "${metricsListen}": ${errorMessage(thrown)}; change "metrics.listen"`,
    );
  }
}
