/**
 * The contract of one cache server of the zone, as the zone cache sees it: small values by key, kept until the server
 * feels like forgetting them. `MemcachedServer` is the real one; simulations bring their own.
 */

import type { Priority } from '../base/index.ts';

export interface ZoneServerRequest {
  /** Aborting abandons the request: the call rejects with the signal's reason; the answer, when it comes, is dropped. */
  readonly signal: AbortSignal;
  readonly priority: Priority;
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
