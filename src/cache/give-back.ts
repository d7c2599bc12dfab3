/** Memory of chunks, given back without waiting for the garbage collector. */

import { release } from '../base/index.ts';

/** Unless it is gone already, or is part of something larger. */
export function giveBack(bytes: Uint8Array): void {
  const { byteLength, buffer } = bytes;
  if (byteLength > 0 && byteLength === buffer.byteLength) release(bytes);
}
