/** Bytes on their way to another thread. Pure. */

/** The same bytes in an array buffer that holds nothing else: `bytes` itself where it spans its whole buffer, else a copy. */
export function transferable(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes;
  const isWhole = buffer instanceof ArrayBuffer && bytes.byteLength === buffer.byteLength;
  return isWhole ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
}
