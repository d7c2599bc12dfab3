/** A `Worker` over a Unix socket: one POST `/v1/worker/METHOD` a call, progress as its events. */

import {
  callUnixJson,
  serveUnixJson,
  type ProgressUpdate,
  type UnixRoutes,
} from '../base/index.ts';
import { WorkerStoppingError } from './errors.ts';
import type { CallOptions, Worker } from './worker.ts';

type Method = Exclude<keyof Worker, typeof Symbol.asyncDispose>;
type AnyMethod = (request: unknown, options: CallOptions) => Promise<unknown>;

/** Every method by name, so that neither end can forget one. */
const methods = Object.keys({
  convertImage: true,
  listImages: true,
  inspectImage: true,
  checkImage: true,
  exportImage: true,
  removeImage: true,
  mountImage: true,
  unmountImage: true,
  createFunction: true,
  listFunctions: true,
  removeFunction: true,
  invokeFunction: true,
  functionLogs: true,
  dropCaches: true,
} satisfies Record<Method, true>) as readonly Method[];

const pathOf = (method: Method): string => `/v1/worker/${method}`;
const progressIntervalMs = 100;

/**
 * Serves `worker` at `socketPath` until the returned handle is disposed of, which waits for the calls under way; when
 * `stopNow` is aborted they end with `ERR_API_STOPPING`. Throws `ERR_UNIX_SOCKET_IN_USE`.
 */
export async function serveWorker(
  worker: Worker,
  socketPath: string,
  stopNow?: AbortSignal,
): Promise<AsyncDisposable> {
  const stopping = new AbortController();
  stopNow?.addEventListener('abort', () => stopping.abort(new WorkerStoppingError()), {
    once: true,
  });
  const routes: UnixRoutes = Object.fromEntries(
    methods.map((method) => [
      `POST ${pathOf(method)}`,
      async (body, { signal, emit }) =>
        await (worker[method] as AnyMethod)(body, {
          signal: AbortSignal.any([signal, stopping.signal]),
          progress: throttled(emit),
        }),
    ]),
  );
  return await serveUnixJson(socketPath, routes);
}

/** Passes on at most one update per label and interval, and always the last. */
function throttled(report: (update: ProgressUpdate) => void): (update: ProgressUpdate) => void {
  const sentMs = new Map<string, number>();
  return (update) => {
    const now = performance.now();
    const isDue = now - (sentMs.get(update.label) ?? -Infinity) >= progressIntervalMs;
    if (!isDue && update.done !== update.total) return;
    sentMs.set(update.label, now);
    report(update);
  };
}

/** The worker that is served at `socketPath`. Its methods throw `ERR_UNIX_*` when the server goes away. */
export function workerAt(socketPath: string): Worker {
  const calls = methods.map((method) => [
    method,
    (request: unknown, { signal, progress }: CallOptions = {}) =>
      callUnixJson(socketPath, 'POST', pathOf(method), request ?? {}, {
        timeoutMs: Infinity,
        onEvent: (event) => progress?.(event as ProgressUpdate),
        ...(signal === undefined ? {} : { signal }),
      }),
  ]);
  return {
    ...(Object.fromEntries(calls) as Omit<Worker, typeof Symbol.asyncDispose>),
    [Symbol.asyncDispose]: async () => {},
  };
}
