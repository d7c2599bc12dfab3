/**
 * A `Worker` over a Unix socket: one POST `/v1/worker/METHOD` a call. Its events are progress, or the items of a stream,
 * which flow no faster than they are taken.
 */

import {
  callUnixJson,
  defined,
  serveUnixJson,
  streamUnixJson,
  viewOf,
  type ProgressUpdate,
  type TextPages,
  type UnixRoute,
  type UnixRoutes,
} from '../base/index.ts';
import { WorkerStoppingError } from './errors.ts';
import type { CallOptions, Worker } from './worker.ts';

type StreamName = 'listImageFiles' | 'readImageFile';
type Method = Exclude<keyof Worker, typeof Symbol.asyncDispose | StreamName>;
type AnyMethod = (request: unknown, options?: CallOptions) => Promise<unknown>;
type AnyStream = (request: unknown, options?: CallOptions) => AsyncIterable<unknown>;

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
  createTenant: true,
  listTenants: true,
  listRuntimes: true,
  buildRuntime: true,
  createAccessKey: true,
  listAccessKeys: true,
  removeAccessKey: true,
  createFunction: true,
  updateFunction: true,
  findFunction: true,
  listFunctions: true,
  listFunctionVersions: true,
  publishFunction: true,
  removeFunction: true,
  setFunctionAlias: true,
  listFunctionAliases: true,
  removeFunctionAlias: true,
  invokeFunction: true,
  invokeFunctionLater: true,
  initialiseFunction: true,
  functionLogs: true,
  dropCaches: true,
  cacheStatus: true,
  startLimits: true,
  reloadZone: true,
} satisfies Record<Method, true>) as readonly Method[];

interface ItemCodec {
  readonly toJson: (item: never) => unknown;
  readonly fromJson: (json: never) => unknown;
}

const asItIs: ItemCodec = { toJson: (item) => item, fromJson: (json) => json };
const bytesInBase64: ItemCodec = {
  toJson: (bytes: Uint8Array) => viewOf(bytes).toString('base64'),
  fromJson: (text: string) => Buffer.from(text, 'base64'),
};

/** Streams by name, with how their items travel. */
const streams: Readonly<Record<StreamName, ItemCodec>> = {
  listImageFiles: asItIs,
  readImageFile: bytesInBase64,
};
const streamNames = Object.keys(streams) as readonly StreamName[];

const pathOf = (method: Method | StreamName): string => `/v1/worker/${method}`;
const progressIntervalMs = 100;

export interface ServeWorkerOptions {
  /** When it is aborted, the calls under way end with `ERR_API_STOPPING`. */
  readonly stopNow?: AbortSignal;
  /** Also served there. */
  readonly pages?: TextPages;
}

/**
 * Serves `worker` at `socketPath` until the returned handle is disposed of, which waits for the calls under way. Throws `ERR_UNIX_SOCKET_IN_USE`.
 */
export async function serveWorker(
  worker: Worker,
  socketPath: string,
  { stopNow, pages }: ServeWorkerOptions = {},
): Promise<AsyncDisposable> {
  const stopping = new AbortController();
  stopNow?.addEventListener('abort', () => stopping.abort(new WorkerStoppingError()), {
    once: true,
  });
  const untilStopped = (signal: AbortSignal): AbortSignal =>
    AbortSignal.any([signal, stopping.signal]);
  const callRoute =
    (method: Method): UnixRoute =>
    async (body, { signal, emit }) =>
      await (worker[method] as AnyMethod)(body, {
        signal: untilStopped(signal),
        progress: throttled(emit),
      });
  const streamRoute =
    (name: StreamName): UnixRoute =>
    async (body, { signal, emit, drained }) => {
      const items = (worker[name] as AnyStream)(body, { signal: untilStopped(signal) });
      for await (const item of items) {
        emit(streams[name].toJson(item as never));
        await drained();
      }
    };
  const routes: UnixRoutes = Object.fromEntries([
    ...methods.map((method) => [`POST ${pathOf(method)}`, callRoute(method)] as const),
    ...streamNames.map((name) => [`POST ${pathOf(name)}`, streamRoute(name)] as const),
  ]);
  return await serveUnixJson(socketPath, routes, pages);
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
  const timeoutMs = Infinity;
  const calls = methods.map((method): [Method, AnyMethod] => [
    method,
    (request, { signal, progress } = {}) =>
      callUnixJson(socketPath, 'POST', pathOf(method), request ?? {}, {
        timeoutMs,
        onEvent: (event) => progress?.(event as ProgressUpdate),
        ...defined({ signal }),
      }),
  ]);
  const streaming = streamNames.map((name): [StreamName, AnyStream] => [
    name,
    async function* (request, { signal } = {}) {
      const options = { timeoutMs, ...defined({ signal }) };
      const items = streamUnixJson(socketPath, 'POST', pathOf(name), request, options);
      for await (const item of items) yield streams[name].fromJson(item as never);
    },
  ]);
  return {
    ...(Object.fromEntries([...calls, ...streaming]) as Omit<Worker, typeof Symbol.asyncDispose>),
    [Symbol.asyncDispose]: async () => {},
  };
}
