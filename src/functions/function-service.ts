/** The contract of the functions room towards the CLI and the API. */

import type { FunctionRecord } from '../catalog/index.ts';
import type { ReadCounters } from '../device/index.ts';

export interface InvokeRequest {
  readonly tenant: string;
  readonly name: string;
  /** JSON text; `{}` where the caller gave none. Checked before anything starts. */
  readonly payload: Uint8Array;
  readonly traceId?: string;
  readonly clientContext?: string;
}

/** Phases of an invoke, in order; those that a warm invoke skips are left out. Sum up to `total` but for gaps. */
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
  /** What this invoke made the agent read of the image. */
  readonly reads: Pick<ReadCounters, 'chunks' | 'bytes' | 'byTier'>;
}

export interface CreateFunctionRequest extends Omit<
  FunctionRecord,
  'createdAtMs' | 'updatedAtMs'
> {}

export interface FunctionService {
  create(request: CreateFunctionRequest): Promise<FunctionRecord>;
  list(tenant: string): Promise<readonly FunctionRecord[]>;
  /** Stops its instances and removes it with its logs. Throws `ERR_FUNCTION_NOT_FOUND`. */
  remove(tenant: string, name: string): Promise<void>;
  /** Throws `ERR_FUNCTION_NOT_FOUND`, `ERR_FUNCTION_BAD_PAYLOAD`, and what mounting or starting throws. */
  invoke(request: InvokeRequest): Promise<InvokeResult>;
  /** The function's log, oldest first, at most the last `maxBytes`. */
  logs(tenant: string, name: string, maxBytes: number): Promise<Uint8Array>;
  /** Stops every instance, gives every mount back. */
  close(): Promise<void>;
}
