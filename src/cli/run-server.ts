/** `thaw serve`: the long-running worker behind its socket. */

import { mkdir } from 'node:fs/promises';
import { once } from 'node:events';

import {
  workerMetrics,
  serveWorker,
  type ApiRequests,
  type LambdaApiServer,
  type Worker,
} from '../api/index.ts';
import { errorMessage, serveText, type Log, type TextPages } from '../base/index.ts';
import { createWorker, type ServedWorker } from './compose.ts';
import { checkRunDir, parseListenAddress, pathsOf, type Config } from './config.ts';
import type { CliContext } from './context.ts';
import { EnvironmentError } from './errors.ts';
import { serveApi, type ApiFlags } from './serve-api.ts';

/** Ends after the first signal when the calls under way have ended, after the second at once. */
export async function runServer(context: CliContext, flags: ApiFlags = {}): Promise<void> {
  const { config, log, signal, secondSignal } = context;
  checkRunDir(config);
  const { serveSocket } = pathsOf(config);
  await mkdir(config.runDir, { recursive: true, mode: 0o700 });
  await using worker = await createWorker(config, log, { agentLife: 'lasting' });
  let server: LambdaApiServer | undefined; // which comes last
  const pages = { '/metrics': async () => metricsOf(worker, server?.requests(), log) };
  await using _server = await serveWorker(worker, serveSocket, { stopNow: secondSignal, pages });
  await using _metrics = await serveMetrics(config, pages);
  await using api = await serveApi({ worker, config, log, stopNow: secondSignal, ...flags });
  server = api;
  log.info('serving', { socket: serveSocket, root: config.root, api: api?.url });
  const refreshing = refreshRuntimes(worker, log);
  const takingUp = takeUpWork(worker, log);
  if (!signal.aborted) await once(signal, 'abort');
  log.info('stopping when the calls under way have ended; a second signal ends them');
  await Promise.all([refreshing, takingUp]);
}

/** What an earlier server had accepted and not done: events, and images that it was publishing. */
async function takeUpWork(worker: ServedWorker, log: Log): Promise<void> {
  try {
    const functions = await worker.functions();
    functions.takeUpEvents();
    await functions.takeUpPublications();
  } catch (thrown) {
    log.warn('Cannot take up what an earlier server left', { reason: errorMessage(thrown) });
  }
}

/** After an upgrade of Node, of a library or of Thaw, which this server was started anew for. */
async function refreshRuntimes({ runtimes }: ServedWorker, log: Log): Promise<void> {
  try {
    await runtimes.refresh();
  } catch (thrown) {
    const reason = errorMessage(thrown);
    log.warn('Cannot make runtimes anew; functions run on with the old ones', { reason });
  }
}

async function metricsOf(
  worker: Worker,
  requests: ApiRequests | undefined,
  log: Log,
): Promise<string> {
  try {
    const [caches, starts] = await Promise.all([worker.cacheStatus(), worker.startLimits()]);
    return workerMetrics({ caches, starts, requests });
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
  try {
    return await serveText(parseListenAddress(metricsListen), pages);
  } catch (thrown) {
    throw new EnvironmentError(
      `Cannot serve metrics on "${metricsListen}": ${errorMessage(thrown)}; change "metrics.listen"`,
    );
  }
}
