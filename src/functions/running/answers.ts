/** The forms in which an answer leaves an instance: whole, as it is being written, or as a web server's. */

import { once } from 'node:events';
import { Readable } from 'node:stream';

import { InvocationBrokenError, type Invocation, type RuntimeApi } from '../../sandbox/index.ts';
import { FunctionWebError } from '../errors.ts';
import type { Outcome } from './function-instance.ts';
import type { InvokeResult, StreamedResult, WebRequest, WebResponse } from '../function-runs.ts';
import type { InvocationWork } from './invocation.ts';

const webErrorType = 'Runtime.WebServerError';

/** What is known when an answer begins. */
export type StreamHead = Pick<StreamedResult, 'body' | 'contentType'>;

/** An answer that came at once. */
export type WholeAnswer = Pick<InvokeResult, 'payload' | 'contentType'>;

/** Waits for all of it. */
export const wholeAnswer: InvocationWork<WholeAnswer> = async (runtime, invocation, signal) => {
  const answer = await runtime.invoke({ ...invocation, streams: false }, signal);
  if (answer.kind === 'error') return { failure: { ...answer, kind: 'reported' } };
  const { contentType } = answer;
  const payload =
    answer.kind === 'response' ? answer.payload : Buffer.concat(await answer.body.toArray());
  return { value: { payload, ...(contentType === undefined ? {} : { contentType }) } };
};

/** Tells the head once the answer begins; is done when its body is, or has been given up. */
export function streamedAnswer(tell: (head: StreamHead) => void): InvocationWork<undefined> {
  return async (runtime, invocation, signal) => {
    const answer = await runtime.invoke({ ...invocation, streams: true }, signal);
    if (answer.kind === 'error') return { failure: { ...answer, kind: 'reported' } };
    const { contentType } = answer;
    const source = answer.kind === 'stream' ? answer.body : wholeBody(answer.payload);
    const { body, over } = endingInOrder(source);
    tell({ body, ...(contentType === undefined ? {} : { contentType }) });
    return await over;
  };
}

/** A runtime that is a web server. */
export interface WebRuntime extends RuntimeApi {
  /** Resolves with the head of the answer. Rejects with `signal`'s reason, which counts until the body has ended. */
  fetch(request: WebRequest, invocation: Invocation, signal: AbortSignal): Promise<WebResponse>;
}

/** Passes one request on and settles `head`; is done when the answer's body is, however that ends. */
export function webAnswer(
  request: WebRequest,
  head: Pick<PromiseWithResolvers<WebResponse>, 'resolve' | 'reject'>,
): InvocationWork<undefined> {
  return async (runtime, invocation, signal) => {
    try {
      if (!isWeb(runtime)) throw new FunctionWebError(request.name, 'its image has none');
      const response = await runtime.fetch(request, invocation, signal);
      head.resolve(response);
      if (!response.body.closed) await once(response.body, 'close');
      return { value: undefined };
    } catch (thrown) {
      if (!(thrown instanceof FunctionWebError)) throw thrown;
      head.reject(thrown);
      const told = { errorType: webErrorType, errorMessage: thrown.message };
      const payload = Buffer.from(JSON.stringify(told));
      return { failure: { kind: 'reported', payload, errorType: webErrorType, fatal: true } };
    }
  };
}

function isWeb(runtime: RuntimeApi): runtime is WebRuntime {
  return 'fetch' in runtime;
}

/** The body of an answer that came at once, or of none. */
export function wholeBody(payload: Uint8Array): Readable {
  return Readable.from(payload.byteLength === 0 ? [] : [payload], { objectMode: false });
}

/**
 * `source` as a body that ends in order also where `source` does not; `over` has what was wrong. A body that is destroyed
 * destroys `source`, which is no failure of the function.
 */
function endingInOrder(source: Readable): {
  readonly body: Readable;
  readonly over: Promise<Outcome<undefined>>;
} {
  const over = Promise.withResolvers<Outcome<undefined>>();
  async function* parts(): AsyncGenerator<Buffer> {
    try {
      yield* source as AsyncIterable<Buffer>;
      over.resolve({ value: undefined });
    } catch (thrown) {
      if (thrown instanceof InvocationBrokenError) {
        over.resolve({ failure: { ...thrown.failure, kind: 'reported' } });
      } else {
        over.reject(thrown);
      }
    }
  }
  const body = Readable.from(parts(), { objectMode: false });
  body.once('close', () => {
    source.destroy();
    over.resolve({ value: undefined });
  });
  return { body, over: over.promise };
}
