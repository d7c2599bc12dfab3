/**
 * One invoke on one instance: start it if it is new, hand it the event, write what Lambda writes
 * into the function's log, and say how long each phase took.
 *
 * An initialisation that fails or takes longer than 10 s is tried again within the function's timeout, as part of the
 * invoke, and only what comes of that is the invoke's outcome. Source: AWS Lambda developer guide, "Lambda execution
 * environment", "Init phase" and "Failures during the Init phase".
 */

import type { Clock } from '../../base/index.ts';
import type { FunctionRecord } from '../../catalog/index.ts';
import type { Invocation, RuntimeApi } from '../../sandbox/index.ts';
import type {
  FunctionInstance,
  Initialisation,
  InstanceStart,
  Outcome,
} from './function-instance.ts';
import type { InvokePhase } from '../function-runs.ts';
import { failureLines, failureLogType, type FunctionFailure } from './lambda-errors.ts';
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

/** What the runtime is asked for. */
export type InvocationWork<T> = (
  runtime: RuntimeApi,
  invocation: Invocation,
  signal: AbortSignal,
) => Promise<Outcome<T>>;

export interface InvocationDone<T> {
  readonly outcome: Outcome<T>;
  /** False where the instance must not serve again; what runs in it is being killed already. */
  readonly isReusable: boolean;
  /** What is left of the function's timeout. */
  readonly leftMs: number;
  readonly timelineMs: Partial<Record<InvokePhase, number>>;
}

/** Throws what starting the instance throws, and the reason of a stop. */
export async function runInvocation<T>(
  on: InvocationOn,
  work: InvocationWork<T>,
): Promise<InvocationDone<T>> {
  const { clock, event, instance, record } = on;
  const timeoutMs = record.timeoutSeconds * 1000;
  const up = await bringUp(on, timeoutMs);
  instance.lines.line(`START RequestId: ${event.requestId} Version: ${record.version}`);
  const begunAtMs = clock.monotonicMs() - up.retryMs;
  const outcome =
    up.failure === undefined
      ? await handOver(on, timeoutMs - up.retryMs, work)
      : { failure: up.failure };
  const durationMs = clock.monotonicMs() - begunAtMs;
  const failure = 'failure' in outcome ? outcome.failure : undefined;
  const isReusable = up.failure === undefined && isHarmless(failure);
  if (!isReusable) instance.kill(failure?.kind === 'timeout' ? 'timeout' : 'failure');
  const [memoryPeakMb] = await Promise.all([instance.memoryPeakMb(), instance.outputSeen()]);
  logEnd(on, { durationMs, initMs: up.initMs, memoryPeakMb, failure });
  return {
    outcome,
    isReusable,
    leftMs: timeoutMs - durationMs,
    timelineMs: {
      ...up.timelineMs,
      ...(up.failure === undefined ? { response: durationMs } : {}),
    },
  };
}

/** The function told of it itself, and goes on. */
function isHarmless(failure: FunctionFailure | undefined): boolean {
  return failure === undefined || (failure.kind === 'reported' && failure.fatal !== true);
}

interface BroughtUp {
  readonly timelineMs: Partial<Record<InvokePhase, number>>;
  /** Of the initialisation, where it was done before the invoke began. */
  readonly initMs?: number;
  /** How much of the function's timeout the second try took. */
  readonly retryMs: number;
  readonly failure?: FunctionFailure;
}

async function bringUp(on: InvocationOn, timeoutMs: number): Promise<BroughtUp> {
  if (on.coldStart === undefined) {
    await on.instance.wake();
    return { timelineMs: {}, retryMs: 0 };
  }
  using _inFlight = on.coldStart;
  const start: InstanceStart = await on.instance.start();
  const { timelineMs, initMs } = start;
  if (start.failure === undefined) return { timelineMs, initMs, retryMs: 0 };
  const { lines } = on.instance;
  lines.line(initReport('init', start));
  const begunAtMs = on.clock.monotonicMs();
  const retry = await on.instance.restart(timeoutMs);
  if (retry.failure !== undefined) lines.line(initReport('invoke', retry));
  const retryMs = on.clock.monotonicMs() - begunAtMs;
  return { timelineMs, retryMs, ...pickFailure(retry) };
}

function pickFailure({ failure }: Initialisation): { readonly failure?: FunctionFailure } {
  return failure === undefined ? {} : { failure };
}

async function handOver<T>(
  on: InvocationOn,
  limitMs: number,
  work: InvocationWork<T>,
): Promise<Outcome<T>> {
  const deadlineMs = on.clock.nowMs() + limitMs;
  const invocation = { ...on.event, deadlineMs };
  return await on.instance.use(limitMs, (runtime, signal) => work(runtime, invocation, signal));
}

function initReport(phase: 'init' | 'invoke', { initMs, failure }: Initialisation): string {
  const duration = `Init Duration: ${initMs.toFixed(2)} ms`;
  return [
    `INIT_REPORT ${duration}`,
    `Phase: ${phase}`,
    ...(failure === undefined ? [] : statusWords(failure)),
  ].join('\t');
}

function statusWords(failure: FunctionFailure): string[] {
  const errorType = failureLogType(failure);
  return errorType === undefined
    ? ['Status: timeout']
    : ['Status: error', `Error Type: ${errorType}`];
}

interface InvocationEnd {
  readonly durationMs: number;
  readonly initMs: number | undefined;
  readonly memoryPeakMb: number | undefined;
  readonly failure: FunctionFailure | undefined;
}

/** The initialisation is billed too, as Lambda does since August 2025. */
function logEnd(
  { clock, event: { requestId }, instance: { lines }, record }: InvocationOn,
  { durationMs, initMs, memoryPeakMb, failure }: InvocationEnd,
): void {
  if (failure !== undefined) {
    const request = { ...record, requestId, nowMs: clock.nowMs() };
    for (const line of failureLines(failure, request)) lines.line(line);
  }
  lines.line(`END RequestId: ${requestId}`);
  const report = [
    `REPORT RequestId: ${requestId}`,
    `Duration: ${durationMs.toFixed(2)} ms`,
    `Billed Duration: ${Math.ceil(durationMs + (initMs ?? 0))} ms`,
    `Memory Size: ${record.memoryMb} MB`,
    ...(memoryPeakMb === undefined ? [] : [`Max Memory Used: ${memoryPeakMb} MB`]),
    ...(initMs === undefined ? [] : [`Init Duration: ${initMs.toFixed(2)} ms`]),
    ...(failure === undefined ? [] : statusWords(failure)),
  ];
  lines.line(report.join('\t'));
}
