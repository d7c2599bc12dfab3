/**
 * What a runtime posts as the outcome of an invocation, as a whole or as a stream. An error that comes after the first bytes of
 * a streamed response is told in the trailers of its request. Source: AWS Lambda developer guide, "Response streaming for Lambda
 * functions", "Building a custom runtime: Response streaming".
 */

import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';

import { InvocationBrokenError } from '../errors.ts';
import type { InvocationError, InvocationOutcome } from './runtime-api-contract.ts';
import {
  headerOf,
  parseObject,
  payloadSizeMaxBytes,
  readBody,
  tooLarge,
  truncated,
  type Refusal,
} from './runtime-api-http.ts';

/** Of a streamed response: 200 MB, in Lambda since July 2025. */
export const streamSizeMaxBytes = 200 * 1024 * 1024;
/** An error type is copied into answers and logs, so it must be short and plain. */
const errorTypeForm = /^[\w.:$-]{1,256}$/;
const errorTypeHeader = 'lambda-runtime-function-error-type';
const errorBodyTrailer = 'lambda-runtime-function-error-body';

export function errorOutcome(errorType: string, errorMessage: string): InvocationError {
  const payload = Buffer.from(JSON.stringify({ errorType, errorMessage }));
  return { kind: 'error', payload, errorType };
}

/** What the runtime gets to hear, undefined when all is well, with what the caller gets. */
export interface Posted {
  readonly outcome: InvocationOutcome;
  readonly refusal?: Refusal;
}

/** Reads a response or an error to its end. */
export async function readOutcome(
  request: IncomingMessage,
  kind: 'response' | 'error',
): Promise<Posted> {
  const body = await readBody(request, payloadSizeMaxBytes, { isUnlimited: true }).catch(
    () => undefined,
  );
  if (body === undefined) {
    const outcome = errorOutcome('Runtime.TruncatedResponse', 'The response was cut short');
    return { outcome, refusal: truncated };
  }
  if (body === 'too large') {
    const declared = headerOf(request, 'content-length');
    const outcome = responseTooLarge(payloadSizeMaxBytes, declared);
    return { outcome, refusal: tooLarge(payloadSizeMaxBytes) };
  }
  return { outcome: kind === 'error' ? errorFrom(request, body) : responseFrom(request, body) };
}

/**
 * A response as it comes. Reads ahead one part and what the sockets hold, so that an error never overtakes a part that nobody
 * has read yet. Where its reader destroys it, the rest is taken and thrown away: a runtime writes its response to the end
 * whoever listens, as in Lambda.
 */
export class StreamedResponse extends Readable {
  /** Resolves when all of it has come, with what the runtime is refused with, if anything. */
  readonly ended: Promise<Refusal | undefined>;
  readonly #request: IncomingMessage;
  #sizeBytes = 0;

  constructor(request: IncomingMessage) {
    super({ highWaterMark: 1 });
    const ended = Promise.withResolvers<Refusal | undefined>();
    this.ended = ended.promise;
    this.#request = request;
    request.on('data', (part: Buffer) => this.#take(part, ended.resolve));
    request.once('end', () => {
      ended.resolve(undefined);
      const failure = errorInTrailers(request);
      if (failure === undefined) this.push(null);
      else this.destroy(new InvocationBrokenError(failure));
    });
    request.once('close', () => {
      ended.resolve(truncated);
      const failure = errorOutcome('Runtime.TruncatedResponse', 'The response was cut short');
      if (!request.readableEnded) this.destroy(new InvocationBrokenError(failure));
    });
    this.on('error', () => {}); // the reader may have left
  }

  override _read(): void {
    this.#request.resume();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#request.resume();
    done(error);
  }

  #take(part: Buffer, end: (refusal: Refusal) => void): void {
    this.#sizeBytes += part.byteLength;
    if (this.#sizeBytes > streamSizeMaxBytes) {
      end(tooLarge(streamSizeMaxBytes));
      this.destroy(new InvocationBrokenError(responseTooLarge(streamSizeMaxBytes)));
    } else if (!this.destroyed) {
      this.#request.pause();
      this.push(part);
    }
  }
}

function responseTooLarge(sizeMaxBytes: number, declared?: string): InvocationError {
  const size = declared === undefined ? '' : ` (${declared} bytes)`;
  return errorOutcome(
    'Function.ResponseSizeTooLarge',
    `Response payload size${size} exceeded maximum allowed payload size (${sizeMaxBytes} bytes).`,
  );
}

/** A streamed response that nobody wanted as a stream. */
function responseFrom(request: IncomingMessage, payload: Buffer): InvocationOutcome {
  return errorInTrailers(request) ?? { kind: 'response', payload, ...contentTypeOf(request) };
}

export function contentTypeOf(request: IncomingMessage): { readonly contentType?: string } {
  const contentType = headerOf(request, 'content-type');
  return contentType === undefined ? {} : { contentType };
}

function errorInTrailers(request: IncomingMessage): InvocationError | undefined {
  const errorType = request.trailers[errorTypeHeader];
  if (errorType === undefined || errorType === '') return undefined;
  return errorFromBody(errorType, Buffer.from(request.trailers[errorBodyTrailer] ?? '', 'base64'));
}

export function errorFrom(request: IncomingMessage, body: Buffer): InvocationError {
  return errorFromBody(headerOf(request, errorTypeHeader), body);
}

/** The body as the runtime sent it where it is a JSON object, else one made from what is known. */
function errorFromBody(header: string | undefined, body: Buffer): InvocationError {
  const told = parseObject(body);
  const inBody = told?.['errorType'];
  const claims = [header, inBody].filter((claim) => typeof claim === 'string');
  const errorType = claims.find((claim) => errorTypeForm.test(claim)) ?? 'Runtime.Unknown';
  if (told !== undefined) return { kind: 'error', payload: body, errorType };
  return errorOutcome(errorType, 'Unknown application error occurred');
}

/** A claim about an error's type that may be copied into answers and logs. */
export function plainErrorType(claim: string): string | undefined {
  return errorTypeForm.test(claim) ? claim : undefined;
}
