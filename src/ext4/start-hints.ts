/**
 * Guesses from paths alone.
 *
 * Whether a program reads a file when it starts: a wrong guess costs nothing but the place: such a
 * file lies among others of its kind. A start of Next.js with AWS clients touches a sixth fewer chunks than
 * without, and no longer list of names did better.
 *
 * Whether layer after layer writes a file anew: such files lie together, so that the chunk that all but the last of these
 * layers have for them is one that no inode refers to, and is left out.
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

/** What package managers keep of what is installed, their logs and caches. */
const rewrittenBySystem =
  /^(?:etc\/(?:ld\.so\.cache|apt\/apt\.conf\.d\/[^/]*|(?:passwd|group|g?shadow|sub[ug]id)-?)|var\/(?:cache|log|lib\/(?:apt|rpm|dpkg\/triggers))\/.*|var\/lib\/dpkg\/[^/]*|lib\/apk\/db\/.*|usr\/lib\/sysimage\/.*)$/;

/** An application's list of packages, at any depth but inside a package. */
const rewrittenByNpm =
  /^(?!.*(?:^|\/)node_modules\/.*package\.json$).*(?<![^/])(?:package\.json|\.?package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|\.yarn-integrity)$/;

export function isOftenRewritten(path: ByteString): boolean {
  return rewrittenBySystem.test(path) || rewrittenByNpm.test(path);
}
