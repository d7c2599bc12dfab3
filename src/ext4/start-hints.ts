/**
 * A guess from its path alone whether a program reads a file when it starts. A wrong guess costs nothing but the place: such a
 * file lies among others of its kind. On Next.js with AWS clients the files of a start lie in a fifth fewer chunks
 * than without.
 */

import type { ByteString } from '../base/index.ts';

/** Directories of what people read, of what programs were made from, and of what tries them out. */
const seldomReadDirectories = new Set(
  [
    'doc docs man info locale help gtk-doc licenses lintian bug menu pixmaps bash-completion',
    'include pkgconfig cmake types typings',
    'test tests __tests__ testing example examples sample samples bench benchmark benchmarks',
  ].flatMap((names) => names.split(' ')),
);

/** What follows the last dot: documents, sources of compiled programs, a package manager's own records. */
const seldomReadExtensions = new Set(
  [
    'md markdown rst html css scss gz po mo',
    'ts tsx mts cts map flow tsbuildinfo h hh hpp c cc cpp o a la pyi pyx pxd',
    'list md5sums conffiles shlibs symbols triggers templates postinst postrm preinst prerm',
  ].flatMap((extensions) => extensions.split(' ')),
);

const seldomReadName =
  /^(licen[cs]e|copying|copyright|notice|changelog|changes|history|authors|contributors|contributing|readme|makefile)\b/i;

/** For files and, by the directories on the way to them, for directories. */
export function isSeldomReadAtStart(path: ByteString): boolean {
  const names = path.split('/');
  const name = names.at(-1) ?? '';
  if (names.some((part) => seldomReadDirectories.has(part))) return true;
  const extension = name.slice(name.lastIndexOf('.') + 1);
  if (extension !== name && seldomReadExtensions.has(extension)) return true;
  return seldomReadName.test(name);
}
