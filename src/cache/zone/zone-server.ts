/**
 * The contract of one cache server of the zone, as the zone cache sees it: small values by key, kept until the server
 * feels like forgetting them. `MemcachedServer` is the real one; simulations bring their own.
 */

import type { Priority } from '../../base/index.ts';

export interface ZoneServerRequest {
  /** Aborting abandons the request: the call rejects with the signal's reason; the answer, when it comes, is dropped. */
  readonly signal: AbortSignal;
  readonly priority: Priority;
}

/** Who asks for a value and is called rather than given a promise: five promises that can be aborted cost a chunk a tenth of all its processor time. */
export interface ValueReader {
  readonly priority: Priority;
  /** The value, as `ZoneServer.get` gives it. */
  found(value: Uint8Array | undefined): void;
  /** With what `ZoneServer.get` throws. */
  failed(cause: unknown): void;
}

/** `up`: asked. `down`: not asked, but probed now and then until it answers. */
export type ZoneServerState = 'up' | 'down';

export interface ZoneServer {
  /** `host:port`, or another text that names it; what placement hashes, so the same for every worker. */
  readonly id: string;
  readonly state: ZoneServerState;
  /**
   * The value, in memory that is the caller's alone and that he should `release`; undefined if there is none. Throws `ERR_CACHE_SERVER_UNAVAILABLE` at
   * once if the server is `down` or has too many requests outstanding, and later if the connection breaks.
   */
  get(key: string, request: ZoneServerRequest): Promise<Uint8Array | undefined>;
  /**
   * As `get`, for who asks much. Calls one of the reader's two functions, once, but not before `ask` has returned. Calling what it returns
   * abandons the request, if there is still one: the reader is called no more.
   */
  ask(key: string, reader: ValueReader): () => void;
  /**
   * Sets a value, given in parts that are sent one after another and MUST NOT change until it settles: when aborted, that may be
   * a second later. Resolves when the server said that it has it, which is a hint and no promise. Throws as `get`.
   */
  put(key: string, parts: readonly Uint8Array[], request: ZoneServerRequest): Promise<void>;
  /** Throws as `get`. Resolves also if there was none. */
  delete(key: string, request: ZoneServerRequest): Promise<void>;
  /** Forgets every value. For tests, benchmarks and operators. */
  flush(request: ZoneServerRequest): Promise<void>;
  status(): ZoneServerStatus;
  /** Ends connections and probes; calls under way reject. */
  close(): Promise<void>;
}

/** Since it was made, but `outstanding` and `connections`: now. */
export interface ZoneServerStatus {
  readonly id: string;
  readonly state: ZoneServerState;
  readonly connections: number;
  /** Requests without an answer yet, those abandoned included. */
  readonly outstanding: number;
  readonly gets: { readonly hits: number; readonly misses: number };
  readonly puts: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Requests whose caller went away before the answer came. */
  readonly abandoned: number;
  /** Refused at once, because too many were outstanding. */
  readonly refused: number;
  /** Connections that broke, and those given up because an abandoned answer was too long in coming. */
  readonly resets: number;
  readonly probes: number;
  readonly errors: number;
}

/** `ask`, of who cannot be asked. */
export function failSoon(reader: ValueReader, cause: unknown): () => void {
  let isWanted = true;
  queueMicrotask(() => {
    if (isWanted) reader.failed(cause);
  });
  return () => {
    isWanted = false;
  };
}

/** `ZoneServer.get`, by way of `ask`. */
export async function getByAsking(
  server: Pick<ZoneServer, 'ask'>,
  key: string,
  { signal, priority }: ZoneServerRequest,
): Promise<Uint8Array | undefined> {
  signal.throwIfAborted();
  const answer = Promise.withResolvers<Uint8Array | undefined>();
  const abandon = server.ask(key, {
    priority,
    found: answer.resolve,
    failed: answer.reject,
  });
  const abort = (): void => {
    abandon();
    answer.reject(signal.reason);
  };
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await answer.promise;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
