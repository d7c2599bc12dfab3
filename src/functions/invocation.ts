/**
 * One invoke on one instance: start it if it is new, hand it the event, write what Lambda writes
 * into the function's log, and say how long each phase took.
 */

import type { Clock } from '../base/index.ts';
import type { FunctionRecord } from '../catalog/index.ts';
import type { Invocation } from '../sandbox/index.ts';
import type { FunctionInstance, InstanceStart, Outcome } from './function-instance.ts';
import type { InvokePhase } from './function-service.ts';
import {
  failureLogType,
  failurePayload,
  timeoutWords,
  type FunctionFailure,
} from './lambda-errors.ts';
import type { ColdStart } from './start-gate.ts';

export interface InvocationOn {
  readonly instance: FunctionInstance;
  /** Set where the instance is new: disposed of once it is ready, or cannot become so. */
  readonly coldStart: ColdStart | undefined;
  readonly record: FunctionRecord;
  /** All of the invocation but the deadline, which is set when the event is handed over. */
  readonly event: Omit<Invocation, 'deadlineMs'>;
  readonly clock: Clock;
}

export interface InvocationDone {
  readonly payload: Uint8Array;
  readonly failed: boolean;
  /** False where the instance must not serve again; what runs in it is being killed already. */
  readonly isReusable: boolean;
  readonly timelineMs: Partial<Record<InvokePhase, number>>;
}

/** Throws what starting the instance throws, and the reason of a stop. */
export async function runInvocation(on: InvocationOn): Promise<InvocationDone> {
  const { clock, event, instance, record } = on;
  const start = on.coldStart === undefined ? undefined : await startIn(on.coldStart, instance);
  const initFailure = start?.failure;
  if (start !== undefined && initFailure !== undefined) {
    instance.lines.line(initReport(start.initMs, initFailure));
  }
  instance.lines.line(`START RequestId: ${event.requestId} Version: $LATEST`);
  const handedAtMs = clock.monotonicMs();
  const outcome = initFailure === undefined ? await handOver(on) : { failure: initFailure };
  const responseMs = clock.monotonicMs() - handedAtMs;
  const failure = 'failure' in outcome ? outcome.failure : undefined;
  const isReusable =
    initFailure === undefined && (failure === undefined || failure.kind === 'reported');
  if (!isReusable) instance.kill();
  await instance.outputSeen();
  logEnd(on, { responseMs, start, failure });
  return {
    payload:
      'value' in outcome
        ? outcome.value
        : failurePayload(outcome.failure, { ...record, requestId: event.requestId }),
    failed: failure !== undefined,
    isReusable,
    timelineMs: {
      ...start?.timelineMs,
      ...(initFailure === undefined ? { response: responseMs } : {}),
    },
  };
}

async function startIn(coldStart: ColdStart, instance: FunctionInstance): Promise<InstanceStart> {
  using _inFlight = coldStart;
  return await instance.start();
}

async function handOver(on: InvocationOn): Promise<Outcome<Uint8Array>> {
  const timeoutMs = on.record.timeoutSeconds * 1000;
  const deadlineMs = on.clock.nowMs() + timeoutMs;
  return await on.instance.invoke({ ...on.event, deadlineMs }, timeoutMs);
}

function initReport(initMs: number, failure: FunctionFailure): string {
  const duration = `Init Duration: ${initMs.toFixed(2)} ms`;
  return `INIT_REPORT ${duration}\tPhase: init\t${statusWords(failure)}`;
}

function statusWords(failure: FunctionFailure): string {
  const errorType = failureLogType(failure);
  return errorType === undefined ? 'Status: timeout' : `Status: error\tError Type: ${errorType}`;
}

interface InvocationEnd {
  readonly responseMs: number;
  readonly start: InstanceStart | undefined;
  readonly failure: FunctionFailure | undefined;
}

/** The initialisation is billed too, as Lambda does since August 2025. */
function logEnd(on: InvocationOn, { responseMs, start, failure }: InvocationEnd): void {
  const { record } = on;
  const { lines } = on.instance;
  const { requestId } = on.event;
  if (failure?.kind === 'timeout') {
    const at = new Date(on.clock.nowMs()).toISOString();
    lines.line(`${at} ${requestId} ${timeoutWords(record.timeoutSeconds)}`);
  }
  lines.line(`END RequestId: ${requestId}`);
  const report = [
    `REPORT RequestId: ${requestId}`,
    `Duration: ${responseMs.toFixed(2)} ms`,
    `Billed Duration: ${Math.ceil(responseMs + (start?.initMs ?? 0))} ms`,
    `Memory Size: ${record.memoryMb} MB`,
    ...(start === undefined ? [] : [`Init Duration: ${start.initMs.toFixed(2)} ms`]),
    ...(failure === undefined ? [] : [statusWords(failure)]),
  ];
  lines.line(report.join('\t'));
}
