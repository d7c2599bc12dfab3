/** The descriptions of the images used last. They never change, as manifests do not. */

import type { ImageRecord } from '../../catalog/index.ts';
import type { ImageDocument } from '../../publish/index.ts';

const documentsKeptMax = 64;

export class ImageDocuments {
  readonly #load: (image: ImageRecord) => Promise<ImageDocument>;
  readonly #kept = new Map<string, ImageDocument>();

  constructor(load: (image: ImageRecord) => Promise<ImageDocument>) {
    this.#load = load;
  }

  /** The one used longest ago makes room. */
  async find(image: ImageRecord): Promise<ImageDocument> {
    const key = `${image.tenant}/${image.rootId}/${image.manifestId}`;
    const document = this.#kept.get(key) ?? (await this.#load(image));
    this.#kept.delete(key);
    this.#kept.set(key, document);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > documentsKeptMax && oldest !== undefined) this.#kept.delete(oldest);
    return document;
  }
}
