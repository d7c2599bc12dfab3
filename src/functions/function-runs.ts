/**
 * The contract of the functions room towards whoever runs functions.
 * Source: AWS Lambda API reference, Invoke; developer guide, "Invoking Lambda functions", "Function URLs".
 */

import type { Readable } from 'node:stream';

import type { ReadCounters } from '../device/index.ts';
import type { FunctionRef } from './function-control.ts';
import type { StartLimitsSnapshot } from './running/start-gate.ts';

export interface InvokeRequest extends FunctionRef {
  /** JSON text, up to 6 MiB (256 KiB for an event); `{}` where it is empty. Checked before anything starts. */
  readonly payload: Uint8Array;
  /** As in X-Ray's tracing header. Default: a new one that is not sampled. */
  readonly traceId?: string;
  /** JSON text, as the runtime gets it. */
  readonly clientContext?: string;
  /** Gives the last 4 KiB of the invoke's log with the result. */
  readonly tailsLog?: boolean;
  /** Gives what the agent read meanwhile with the result: two calls to it. */
  readonly countsReads?: boolean;
}

/**
 * Phases of an invoke, in order; those that a warm invoke skips are left out. Sum up to `total` but
 * for gaps. `place`: from the request to the decision where it runs; `code`: the archive's download and unpacking.
 */
export type InvokePhase =
  | 'place'
  | 'imageOpen'
  | 'attach'
  | 'mount'
  | 'code'
  | 'sandbox'
  | 'runtimeReady'
  | 'response';

export interface InvokeResult {
  readonly requestId: string;
  /** The version that ran: `$LATEST` or a number. */
  readonly executedVersion: string;
  /** What the handler returned, or Lambda's error object when `functionError` is set. */
  readonly payload: Uint8Array;
  /** As the runtime called its answer, where it did. */
  readonly contentType?: string;
  /** As in Lambda's X-Amz-Function-Error: the function failed, the service did not. */
  readonly functionError?: 'Unhandled';
  /** The end of the log of this invoke, where it was asked for: at most 4 KiB. */
  readonly logTail?: Uint8Array;
  readonly coldStart: boolean;
  readonly timelineMs: Readonly<Partial<Record<InvokePhase, number>> & { readonly total: number }>;
  /**
   * Where it was asked for: what the agent read of the image meanwhile, for this invoke and for others of the same image
   * at the same time.
   */
  readonly reads?: Pick<ReadCounters, 'chunks' | 'bytes' | 'byTier'>;
}

/** An HTTP request for a function whose image is a web server. */
export interface WebRequest extends FunctionRef {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Readable;
}

export interface WebResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  /** As the server writes it; destroy it to give the answer up. The instance is busy until it has ended. */
  readonly body: Readable;
}

/** An invoke whose answer is handed on while the function writes it. */
export interface StreamedResult {
  readonly requestId: string;
  readonly executedVersion: string;
  /** As the function said. */
  readonly contentType?: string;
  /**
   * To be read to its end, or destroyed. It ends in order also where the function fails; `ended` tells. The instance is busy until then.
   */
  readonly body: Readable;
  /** Resolves when the invoke is over; never rejects. */
  readonly ended: Promise<StreamEnd>;
}

/** `errorType` and `errorMessage` as in Lambda's error object. */
export interface StreamEnd {
  readonly functionError?: 'Unhandled';
  readonly errorType?: string;
  readonly errorMessage?: string;
  /** As in `InvokeResult`. */
  readonly logTail?: Uint8Array;
}

export interface FunctionRuns {
  /**
   * Resolves also when the function fails: then the payload is the error object that Lambda gives.
   * A response that is no JSON is handed on as it is. Throws `ERR_FUNCTION_NOT_FOUND`,
   * `ERR_FUNCTION_BAD_PAYLOAD`, `ERR_FUNCTION_PAYLOAD_TOO_LARGE`, `ERR_FUNCTION_THROTTLED`
   * (retryable), `ERR_FUNCTION_NOT_READY` (its state is Pending or Failed), `ERR_FUNCTION_START_TIMEOUT` (retryable),
   * `ERR_FUNCTION_STOPPED`, and what mounting or starting throws.
   */
  invoke(request: InvokeRequest): Promise<InvokeResult>;
  /** Resolves with the first bytes of the answer, or the invoke's end. Throws as `invoke`. */
  invokeStreaming(request: InvokeRequest): Promise<StreamedResult>;
  /** Durable when it resolves, with the request's id; runs in its own time, with retries. */
  invokeLater(request: InvokeRequest): Promise<{ readonly requestId: string }>;
  /** Begins with the events that an earlier server left; without it, not before another one is accepted. */
  takeUpEvents(): void;
  /** Checks all that `invoke` checks before it starts anything. */
  checkInvoke(request: InvokeRequest): Promise<void>;
  /**
   * One request of a function with `webServer`, an instance to itself. Resolves with the head of the answer. Throws as
   * `invoke`, and `ERR_FUNCTION_WEB` where the server does not answer.
   */
  fetch(request: WebRequest): Promise<WebResponse>;
  /** The function's log, oldest first, at most the last `maxBytes`. */
  logs(tenant: string, name: string, maxBytes: number): Promise<Uint8Array>;
  /** Cold starts in flight, their limits, and what was refused: for status and metrics. */
  startLimits(): StartLimitsSnapshot;
  /** Ends every idle instance, so that the next invoke of each function is a cold start. */
  endIdle(): Promise<void>;
  /**
   * Ends every invoke (`ERR_FUNCTION_STOPPED`) and every instance, gives every mount back, for
   * good. Events that wait are kept for the next server.
   */
  close(): Promise<void>;
}
