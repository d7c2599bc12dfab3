/** A thread of `SealPool`: runs the pure codec and transfers the bytes; no logic of its own. */

import { parentPort } from 'node:worker_threads';

import { errorToJson, present, release, type ErrorJson } from '../base/index.ts';
import { sealChunk, type SealedChunk } from './codec.ts';
import type { ChunkCodec } from './manifest.ts';

export interface SealRequest {
  readonly job: number;
  readonly plaintext: Uint8Array;
  readonly salt: Uint8Array;
  readonly codec: ChunkCodec;
}

export interface SealResponse {
  readonly job: number;
  /** Undefined for a chunk of zeros, and next to an error. */
  readonly sealed?: SealedChunk | undefined;
  readonly error?: ErrorJson;
}

const port = present(parentPort, 'the port of a worker thread');

/** In an array buffer of their own: posting a view would copy all of the memory behind it. */
function alone(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

function respond({ job, plaintext, salt, codec }: SealRequest): void {
  try {
    const sealed = sealChunk(plaintext, salt, codec);
    release(plaintext);
    if (sealed === undefined) {
      port.postMessage({ job } satisfies SealResponse);
      return;
    }
    const response: SealResponse = {
      job,
      sealed: {
        ...sealed,
        ciphertextDigest: alone(sealed.ciphertextDigest),
        key: alone(sealed.key),
      },
    };
    port.postMessage(response, [sealed.ciphertext.buffer as ArrayBuffer]);
  } catch (thrown) {
    port.postMessage({ job, error: errorToJson(thrown) } satisfies SealResponse);
  }
}

port.on('message', respond);
