/**
 * What the caller of a function gets when the function failed: the payloads that Lambda gives.
 * Source: AWS Lambda developer guide, "Troubleshoot invocation issues in Lambda"; the words on
 * exits are those of AWS's published runtime interface emulator, whose signal names are Go's.
 *
 * A response that is no JSON is no failure: Lambda hands on the bytes that a custom runtime answers
 * with, as the guide's "Tutorial: Building a custom runtime" shows, where a shell script answers
 * with plain text.
 */

import type { SandboxExit } from '../sandbox/index.ts';

/** Why there is no response. `reported`: the runtime said so itself, in its own words. */
export type FunctionFailure =
  | { readonly kind: 'timeout' }
  | { readonly kind: 'exit'; readonly exit: SandboxExit }
  | { readonly kind: 'reported'; readonly payload: Uint8Array; readonly errorType: string };

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

export function timeoutWords(timeoutSeconds: number): string {
  return `Task timed out after ${timeoutSeconds.toFixed(2)} seconds`;
}

function errorPayload(requestId: string, errorType: string, words: string): Uint8Array {
  return Buffer.from(
    JSON.stringify({ errorType, errorMessage: `RequestId: ${requestId} Error: ${words}` }),
  );
}

export interface FailedRequest {
  readonly requestId: string;
  readonly timeoutSeconds: number;
}

/** Lambda's error object. */
export function failurePayload(failure: FunctionFailure, request: FailedRequest): Uint8Array {
  switch (failure.kind) {
    case 'reported':
      return failure.payload;
    case 'timeout':
      return errorPayload(
        request.requestId,
        'Sandbox.Timedout',
        timeoutWords(request.timeoutSeconds),
      );
    case 'exit':
      return errorPayload(request.requestId, 'Runtime.ExitError', exitWords(failure.exit));
  }
}

/**
 * The error type in the function's log, where Lambda tells running out of memory from other exits.
 */
export function failureLogType(failure: FunctionFailure): string | undefined {
  switch (failure.kind) {
    case 'reported':
      return failure.errorType;
    case 'timeout':
      return undefined;
    case 'exit':
      return failure.exit.outOfMemory ? 'Runtime.OutOfMemory' : 'Runtime.ExitError';
  }
}
