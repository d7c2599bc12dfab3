/** A thread of `OpenPool`: runs the pure codec and transfers the bytes; no logic of its own. */

import { parentPort } from 'node:worker_threads';

import { errorToJson, present, type ErrorJson } from '../base/index.ts';
import { openChunk, type SealedChunkRef } from './codec.ts';

export interface OpenRequest {
  readonly job: number;
  readonly ref: SealedChunkRef;
  readonly ciphertext: Uint8Array;
}

/** The first message of a thread has neither plaintext nor error, and says that it is ready. */
export interface OpenResponse {
  readonly job: number;
  readonly plaintext?: Uint8Array;
  readonly error?: ErrorJson;
}

const port = present(parentPort, 'the port of a worker thread');

/** In an array buffer that holds hardly anything else: the decompressor asks for a byte more than it fills. */
function alone(bytes: Uint8Array): Uint8Array {
  return bytes.buffer.byteLength <= bytes.byteLength + 1 ? bytes : new Uint8Array(bytes);
}

function respond({ job, ref, ciphertext }: OpenRequest): void {
  try {
    const plaintext = alone(openChunk(ref, ciphertext));
    const response: OpenResponse = { job, plaintext };
    port.postMessage(response, [plaintext.buffer as ArrayBuffer]);
  } catch (thrown) {
    port.postMessage({ job, error: errorToJson(thrown) } satisfies OpenResponse);
  }
}

port.on('message', respond);
port.postMessage({ job: 0 } satisfies OpenResponse);
