/**
 * What the caller of a function gets when the function failed: the payloads that Lambda gives.
 * Source: AWS Lambda developer guide, "Troubleshoot invocation issues in Lambda"; the words on
 * exits are those of AWS's published runtime interface emulator, whose signal names are Go's.
 *
 * A response that is no JSON is no failure: Lambda hands on the bytes that a custom runtime answers
 * with, as the guide's "Tutorial: Building a custom runtime" shows, where a shell script answers
 * with plain text.
 */

import type { SandboxExit } from '../../sandbox/index.ts';

/**
 * Why there is no response. `launch`: there is nothing in the image that could be run. `reported`: the runtime said so itself, in its
 * own words; `fatal` where it is of no more use.
 */
export type FunctionFailure =
  | { readonly kind: 'timeout' }
  | { readonly kind: 'exit'; readonly exit: SandboxExit }
  | { readonly kind: 'launch'; readonly errorType: string; readonly words: string }
  | {
      readonly kind: 'reported';
      readonly payload: Uint8Array;
      readonly errorType: string;
      readonly fatal?: boolean;
    };

const signalWords: Readonly<Record<string, string>> = {
  SIGABRT: 'aborted',
  SIGALRM: 'alarm clock',
  SIGBUS: 'bus error',
  SIGFPE: 'floating point exception',
  SIGHUP: 'hangup',
  SIGILL: 'illegal instruction',
  SIGINT: 'interrupt',
  SIGKILL: 'killed',
  SIGPIPE: 'broken pipe',
  SIGQUIT: 'quit',
  SIGSEGV: 'segmentation fault',
  SIGSYS: 'bad system call',
  SIGTERM: 'terminated',
  SIGTRAP: 'trace/breakpoint trap',
};

function exitWords(exit: SandboxExit): string {
  if (exit.signal !== undefined) {
    return `Runtime exited with error: signal: ${signalWords[exit.signal] ?? exit.signal}`;
  }
  return exit.status === 0
    ? 'Runtime exited without providing a reason'
    : `Runtime exited with error: exit status ${exit.status ?? 'unknown'}`;
}

function timeoutWords(timeoutSeconds: number): string {
  return `Task timed out after ${timeoutSeconds.toFixed(2)} seconds`;
}

/** For a caller who gets no error object. */
export function failureWords(
  failure: FunctionFailure,
  { timeoutSeconds }: Pick<FailedRequest, 'timeoutSeconds'>,
): string {
  switch (failure.kind) {
    case 'reported':
      return failure.errorType;
    case 'timeout':
      return timeoutWords(timeoutSeconds);
    case 'launch':
      return failure.words;
    case 'exit':
      return exitWords(failure.exit);
  }
}

export interface FailedRequest {
  readonly requestId: string;
  readonly timeoutSeconds: number;
}

/** Lambda's error object. */
export function failurePayload(failure: FunctionFailure, request: FailedRequest): Uint8Array {
  if (failure.kind === 'reported') return failure.payload;
  const { requestId } = request;
  return Buffer.from(
    JSON.stringify({
      errorType: failureType(failure),
      errorMessage: `RequestId: ${requestId} Error: ${failureWords(failure, request)}`,
    }),
  );
}

function failureType(failure: FunctionFailure): string {
  switch (failure.kind) {
    case 'reported':
    case 'launch':
      return failure.errorType;
    case 'timeout':
      return 'Sandbox.Timedout';
    case 'exit':
      return 'Runtime.ExitError';
  }
}

/** What Lambda writes into the log of an invoke that failed so, before its END line; nothing where the runtime has written itself. */
export function failureLines(
  failure: FunctionFailure,
  { requestId, timeoutSeconds, nowMs }: FailedRequest & { readonly nowMs: number },
): readonly string[] {
  switch (failure.kind) {
    case 'reported':
      return [];
    case 'timeout':
      return [`${new Date(nowMs).toISOString()} ${requestId} ${timeoutWords(timeoutSeconds)}`];
    case 'launch':
    case 'exit': {
      const words = failureWords(failure, { timeoutSeconds });
      return [`RequestId: ${requestId} Error: ${words}`, failureType(failure)];
    }
  }
}

/**
 * The error type in the function's log, where Lambda tells running out of memory from other exits.
 */
export function failureLogType(failure: FunctionFailure): string | undefined {
  if (failure.kind === 'timeout') return undefined;
  if (failure.kind === 'exit' && failure.exit.outOfMemory) return 'Runtime.OutOfMemory';
  return failureType(failure);
}
