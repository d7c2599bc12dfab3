/** Where things lie in a store: everything of a root (paper §3.4) under the root's own prefix. */

/** `digestHex`: SHA-256 of the ciphertext, 64 hex digits. */
export function chunkObjectName(rootId: string, digestHex: string): string {
  return `${rootId}/chunks/${digestHex}`;
}

/** `manifestId`: SHA-256 of the manifest's bytes, 64 hex digits. */
export function manifestObjectName(rootId: string, manifestId: string): string {
  return `${rootId}/manifests/${manifestId}`;
}
