/**
 * A guess from its path alone whether a program reads a file when it starts. A wrong guess costs nothing but the place: such a
 * file lies among others of its kind. A start of Next.js with AWS clients touches a sixth fewer chunks than
 * without, and no longer list of names did better.
 */

import type { ByteString } from '../base/index.ts';

/** What people read, and what tries programs out. */
const seldomReadDirectory = /(?:^|\/)(?:docs?|man|info|tests?|__tests__)\//;

/** In npm packages, the twins for bundlers and browsers of what Node loads. */
const unusedByNode =
  /(?:^|\/)node_modules\/(?:.*\/)?(?:esm5?|es|es6|es2015|dist-es|module|dist-types|browser|umd|amd)\//;

/** Types, maps from what runs to what was written, and documents. */
const seldomReadExtension = /\.(?:[cm]?tsx?|flow|pyi|map|tsbuildinfo|md|markdown|rst|txt)$/;

/** For anything but the root; of a directory, those above it decide. */
export function isSeldomReadAtStart(path: ByteString): boolean {
  return (
    seldomReadExtension.test(path) || seldomReadDirectory.test(path) || unusedByNode.test(path)
  );
}
