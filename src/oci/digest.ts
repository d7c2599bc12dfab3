/**
 * Content digests, `algorithm:hex`. Source: OCI image-spec, descriptor.md, "Digests". Digests become parts of
 * paths and URLs, so nothing but the exact registered forms is let through.
 */

import { createHash, type Hash } from 'node:crypto';

import { toHex } from '../base/index.ts';

const hexLengths: Readonly<Record<string, number>> = { sha256: 64, sha512: 128 };
const digestForm = /^(sha256|sha512):([0-9a-f]{64,128})$/;

export function isDigest(text: string): boolean {
  const match = digestForm.exec(text);
  return match !== null && match[2]?.length === hexLengths[match[1] ?? ''];
}

/** Only SHA-256: what the rest of Thaw takes as a diff id. */
export function isSha256(text: string): boolean {
  return text.startsWith('sha256:') && isDigest(text);
}

/** The algorithm of a digest that `isDigest` accepted. */
export function digestAlgorithm(digest: string): string {
  return digest.slice(0, digest.indexOf(':'));
}

export function digestHex(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/** Hashes bytes as they pass. */
export class Digester {
  readonly #algorithm: string;
  readonly #hash: Hash;

  constructor(algorithm = 'sha256') {
    this.#algorithm = algorithm;
    this.#hash = createHash(algorithm);
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  /** Ends the hashing; call once. */
  digest(): string {
    return `${this.#algorithm}:${toHex(this.#hash.digest())}`;
  }
}

export function digestOf(bytes: Uint8Array, algorithm = 'sha256'): string {
  const digester = new Digester(algorithm);
  digester.update(bytes);
  return digester.digest();
}
