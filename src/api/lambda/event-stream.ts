/**
 * The messages of a streamed response. Source: Smithy, "Amazon Event Stream Specification"; AWS Lambda API reference,
 * InvokeWithResponseStream.
 */

import { Readable } from 'node:stream';

import { EventStreamCodec } from '@smithy/core/event-streams';

const codec = new EventStreamCodec(
  (bytes) => (typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString()),
  (text) => Buffer.from(text),
);

/** What ends every stream. Source: InvokeWithResponseStreamCompleteEvent. */
export interface StreamEnd {
  readonly ErrorCode?: string;
  readonly ErrorDetails?: string;
  /** The tail of the log, in base64. */
  readonly LogResult?: string;
}

/** Part of the response. */
export function payloadMessage(part: Uint8Array): Uint8Array {
  return message('PayloadChunk', 'application/octet-stream', part);
}

/** The last message. */
export function completeMessage(end: StreamEnd): Uint8Array {
  return message('InvokeComplete', 'application/json', Buffer.from(JSON.stringify(end)));
}

/** Bytes as they come. */
export function streamOf(parts: AsyncGenerator<Uint8Array>): Readable {
  return Readable.from(parts, { objectMode: false });
}

function message(eventType: string, contentType: string, body: Uint8Array): Uint8Array {
  const headers = {
    ':message-type': text('event'),
    ':event-type': text(eventType),
    ':content-type': text(contentType),
  };
  return codec.encode({ headers, body });
}

function text(value: string) {
  return { type: 'string' as const, value };
}
