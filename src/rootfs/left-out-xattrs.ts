/** What of a layer's extended attributes a disk cannot have, counted, so that nothing is left out without a word. Pure. */

import type { ByteString } from '../base/index.ts';

/**
 * - `trusted.overlay`: how overlayfs notes on its own disks what of a lower one it hides or has moved. In a layer they are what a
 *   build tool forgot; on a disk that overlayfs gets as its lower one they would be obeyed.
 * - `user`: on links and devices, where Linux has none.
 * - `system`: all but access control lists, and those where Linux has none or that are of a version that it does not know.
 * - `other`: namespaces that Linux does not have, such as `com.apple.`.
 */
export type LeftOutNamespace = 'trusted.overlay' | 'user' | 'system' | 'other';

/** How many there were, of all entries of all layers, also of those that an upper layer replaces; none are not mentioned. */
export type LeftOutXattrs = Readonly<Partial<Record<LeftOutNamespace, number>>>;

const namespaces = ['trusted.overlay', 'user', 'system'] as const;

/** That of an attribute which is left out. */
export function leftOutNamespace(name: ByteString): LeftOutNamespace {
  return namespaces.find((namespace) => name.startsWith(`${namespace}.`)) ?? 'other';
}
