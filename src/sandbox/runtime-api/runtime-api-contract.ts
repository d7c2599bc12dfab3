/**
 * The contract of the Runtime API: what may be asked of the runtime, and of the extensions, that run in a sandbox.
 * Source: AWS Lambda developer guide, "Using the Lambda runtime API for custom runtimes", "Using the Lambda Extensions API
 * to create extensions", "Response streaming for Lambda functions".
 */

import type { Readable } from 'node:stream';

/** One invocation as it is given to the runtime. */
export interface Invocation {
  readonly requestId: string;
  /** The event, as bytes of JSON. */
  readonly payload: Uint8Array;
  /** Milliseconds since 1970. */
  readonly deadlineMs: number;
  readonly functionArn: string;
  readonly traceId?: string;
  readonly clientContext?: string;
  readonly cognitoIdentity?: string;
  /** True where the caller takes the response while it is being written. Else it comes whole. */
  readonly streams?: boolean;
}

/** The payload is Lambda's error object: `errorMessage`, `errorType`, `stackTrace`. */
export interface InvocationError {
  readonly kind: 'error';
  readonly payload: Uint8Array;
  readonly errorType: string;
  /** True where the sandbox is of no more use: an extension has failed. */
  readonly fatal?: boolean;
}

/** What came of an invocation. `contentType` is what the runtime called its response. */
export type InvocationOutcome =
  | { readonly kind: 'response'; readonly payload: Uint8Array; readonly contentType?: string }
  /**
   * Only where the invocation `streams`. The body is the caller's to read to its end, or to destroy; it is destroyed with
   * an `InvocationBrokenError` where the function fails on the way, and with the signal's reason.
   */
  | { readonly kind: 'stream'; readonly body: Readable; readonly contentType?: string }
  | InvocationError;

export interface RuntimeApi {
  /**
   * Resolves when the runtime and all extensions have asked for their first event, or one of them has reported that its
   * initialisation failed.
   */
  readonly ready: Promise<{ readonly initError?: InvocationError }>;
  /**
   * Hands one invocation to the runtime, and its notice to the extensions, and waits for the answer; one at a time. Rejects
   * with `signal`'s reason when aborted; the sandbox must be disposed of then. The signal counts until a body has ended.
   * Throws `ERR_SANDBOX_CLOSED`.
   */
  invoke(invocation: Invocation, signal: AbortSignal): Promise<InvocationOutcome>;
  /**
   * Resolves when the last invocation is over for all: the runtime and every extension wait for the next event. Only then
   * may the sandbox be frozen, or be given another one. Resolves also when the sandbox ends; rejects with `signal`'s reason.
   */
  settled(signal?: AbortSignal): Promise<void>;
}

/** As extensions are told. */
export type ShutDownReason = 'spindown' | 'timeout' | 'failure';
