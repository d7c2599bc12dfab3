/** The contract of the runtimes room: the images that zip functions run in. */

import type { ImageRecord } from '../catalog/index.ts';

/**
 * The tenant that runtime images belong to. Nobody may act as this tenant: no request, no access key, no
 * command but `thaw runtime`.
 */
export const runtimesTenant = 'thaw-runtimes';

export interface RuntimeImages {
  /** What a zip function may name as its runtime on this machine, in byte order: published, or made on first use. */
  names(): Promise<readonly string[]>;
  /**
   * The newest image of that name, or the one that the last `refresh` or `build` here found to be made of what this machine
   * has; undefined where none was published yet. One look into the catalog.
   */
  find(runtime: string): Promise<ImageRecord | undefined>;
  /**
   * The same, made from this machine's own programs and published first where there is none: a second or two. Throws
   * `ERR_RUNTIMES_UNKNOWN` (Lambda's words in its message) where this machine cannot make it.
   */
  ensure(runtime: string): Promise<ImageRecord>;
  /** Makes and publishes it whether or not there is one. Throws as `ensure`. */
  build(runtime: string): Promise<ImageRecord>;
  /**
   * Makes those anew that were published and whose ingredients have changed since: Node, a library or Thaw itself
   * was upgraded.
   */
  refresh(): Promise<void>;
}
