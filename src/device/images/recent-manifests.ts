/**
 * Sealed manifests that were opened of late, in memory: an image that was started here before opens without a word from the origin.
 *
 * Invariants: what is kept is what its id says, as it never changes, and sealed: the tenant's key is asked for at every opening. At most
 * `bytesMax` are kept, those used last.
 */

import { hash } from 'node:crypto';

import type { ImageRef } from './block-images.ts';
import { ImageUnsupportedError } from '../errors.ts';

export interface RecentManifestsOptions {
  /** From the origin. Whatever it throws is thrown here. */
  readonly fetch: (image: ImageRef) => Promise<Uint8Array>;
  readonly bytesMax: number;
}

export class RecentManifests {
  readonly #options: RecentManifestsOptions;
  /** By `keyOf`, the one used last at the end. */
  readonly #kept = new Map<string, Uint8Array>();
  #bytes = 0;

  constructor(options: RecentManifestsOptions) {
    this.#options = options;
  }

  /** The sealed manifest; MUST NOT be changed. Throws `ERR_DEVICE_IMAGE_UNSUPPORTED` if the origin's bytes are not what its id says. */
  async get(image: ImageRef): Promise<Uint8Array> {
    const key = keyOf(image);
    const sealed = this.#kept.get(key) ?? (await this.#fetch(image));
    this.#forget(key);
    this.#kept.set(key, sealed);
    this.#bytes += sealed.byteLength;
    for (const oldest of this.#kept.keys()) {
      if (this.#bytes <= this.#options.bytesMax) break;
      this.#forget(oldest);
    }
    return sealed;
  }

  clear(): void {
    this.#kept.clear();
    this.#bytes = 0;
  }

  async #fetch(image: ImageRef): Promise<Uint8Array> {
    const sealed = await this.#options.fetch(image);
    if (hash('sha256', sealed) === image.manifestId) return sealed;
    throw new ImageUnsupportedError(
      image.manifestId,
      'the bytes of its manifest are not what its id says; delete that copy and publish it again',
    );
  }

  #forget(key: string): void {
    this.#bytes -= this.#kept.get(key)?.byteLength ?? 0;
    this.#kept.delete(key);
  }
}

/** Of one root, as the origin has it: who has no manifest there must not find it here. */
function keyOf({ rootId, manifestId }: ImageRef): string {
  return `${rootId}/${manifestId}`;
}
