/** The contract of the functions room towards the CLI and the API. */

import type { FunctionRecord } from '../catalog/index.ts';
import type { ReadCounters } from '../device/index.ts';
import type { StartLimitsSnapshot } from './start-gate.ts';

export interface InvokeRequest {
  readonly tenant: string;
  readonly name: string;
  /** JSON text, up to 6 MiB; `{}` where it is empty. Checked before anything starts. */
  readonly payload: Uint8Array;
  /** As in X-Ray's tracing header. Default: a new one that is not sampled. */
  readonly traceId?: string;
  /** JSON text, as the runtime gets it. */
  readonly clientContext?: string;
}

/**
 * Phases of an invoke, in order; those that a warm invoke skips are left out. Sum up to `total` but
 * for gaps.
 */
export type InvokePhase =
  | 'imageOpen'
  | 'attach'
  | 'mount'
  | 'sandbox'
  | 'runtimeReady'
  | 'response';

export interface InvokeResult {
  readonly requestId: string;
  /** What the handler returned, or Lambda's error object when `functionError` is set. */
  readonly payload: Uint8Array;
  /** `Unhandled` as in Lambda's X-Amz-Function-Error: the function failed, the service did not. */
  readonly functionError?: 'Unhandled';
  readonly coldStart: boolean;
  readonly timelineMs: Readonly<Partial<Record<InvokePhase, number>> & { readonly total: number }>;
  /**
   * What the agent read of the image meanwhile: for this invoke, and for others of the same image
   * at the same time.
   */
  readonly reads: Pick<ReadCounters, 'chunks' | 'bytes' | 'byTier'>;
}

export interface CreateFunctionRequest extends Omit<
  FunctionRecord,
  'createdAtMs' | 'updatedAtMs'
> {}

export interface FunctionService {
  /**
   * Throws `ERR_FUNCTION_BAD_NAME`, `ERR_FUNCTION_BAD_CONFIG`, `ERR_FUNCTION_BAD_ENVIRONMENT`,
   * `ERR_FUNCTION_NO_COMMAND`, `ERR_CATALOG_FUNCTION_EXISTS`, `ERR_CATALOG_NO_SUCH_IMAGE`.
   */
  create(request: CreateFunctionRequest): Promise<FunctionRecord>;
  /** In byte order of names. */
  list(tenant: string): Promise<readonly FunctionRecord[]>;
  /**
   * Ends its invokes (`ERR_FUNCTION_STOPPED`) and instances, and removes it with its logs. Throws
   * `ERR_FUNCTION_NOT_FOUND`.
   */
  remove(tenant: string, name: string): Promise<void>;
  /**
   * Resolves also when the function fails: then the payload is the error object that Lambda gives.
   * A response that is no JSON is handed on as it is. Throws `ERR_FUNCTION_NOT_FOUND`,
   * `ERR_FUNCTION_BAD_PAYLOAD`, `ERR_FUNCTION_PAYLOAD_TOO_LARGE`, `ERR_FUNCTION_THROTTLED`
   * (retryable), `ERR_FUNCTION_START_TIMEOUT` (retryable), `ERR_FUNCTION_STOPPED`, and what
   * mounting or starting throws.
   */
  invoke(request: InvokeRequest): Promise<InvokeResult>;
  /**
   * The function's log, oldest first, at most the last `maxBytes`. Throws `ERR_FUNCTION_NOT_FOUND`.
   */
  logs(tenant: string, name: string, maxBytes: number): Promise<Uint8Array>;
  /** Cold starts in flight, their limits, and what was refused: for status and metrics. */
  startLimits(): StartLimitsSnapshot;
  /** Ends every idle instance, so that the next invoke of each function is a cold start. */
  endIdle(): Promise<void>;
  /**
   * Ends every invoke (`ERR_FUNCTION_STOPPED`) and every instance, gives every mount back, for
   * good.
   */
  close(): Promise<void>;
}
