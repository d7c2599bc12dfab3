/** The project's own sources as text, for the tests that hold the house rules against them. */

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const projectRoot = join(import.meta.dirname, '..', '..');

export interface SourceFile {
  /** From the project's root: `src/oci/index.ts`. */
  readonly path: string;
  readonly text: string;
  /** The text with comments blanked out, line for line. */
  readonly code: string;
}

export interface Import {
  /** From the project's root for a file of ours, as written for a package. */
  readonly target: string;
  readonly isOurs: boolean;
  readonly typesOnly: boolean;
  readonly line: number;
}

/** Strings are matched too, so that what looks like a comment inside one is left alone. */
const stringOrComment =
  /('(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|\/\*[^]*?\*\/|\/\/[^\n]*/g;

function withoutComments(text: string): string {
  return text.replaceAll(
    stringOrComment,
    (found, string?: string) => string ?? found.replaceAll(/[^\n]/g, ' '),
  );
}

/** Every TypeScript file under the folders given, in order of path. */
export function sourceFiles(...folders: string[]): SourceFile[] {
  return folders
    .flatMap((folder) =>
      readdirSync(join(projectRoot, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.ts'))
        .map((name) => join(folder, name)),
    )
    .sort()
    .map((path) => {
      const text = readFileSync(join(projectRoot, path), 'utf8');
      return { path, text, code: withoutComments(text) };
    });
}

/** `import … from 'x'`, `export … from 'x'`, `import 'x'`, `import('x')`, `new URL('x', import.meta.url)`. */
const importStatement =
  /\b(import|export)(\s+type\b)?([\w\s{},*$]*?)\bfrom\s*'([^']+)'|\bimport\s*\(?\s*'([^']+)'|\bnew URL\('(\.[^']+)',\s*import\.meta\.url/g;

/** True for `{ type A, type B }`: no name in the braces is a value. */
function namesOnlyTypes(clause: string): boolean {
  const braced = /^\s*\{([^}]*)\}\s*$/.exec(clause)?.[1];
  const names = braced
    ?.split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  return names !== undefined && names.length > 0 && names.every((name) => name.startsWith('type '));
}

export function importsOf({ path, code }: SourceFile): Import[] {
  return [...code.matchAll(importStatement)].map((match) => {
    const [, , type, clause = '', from, bare, url] = match;
    const specifier = from ?? bare ?? url ?? '';
    const isOurs = specifier.startsWith('.');
    return {
      target: isOurs ? join(dirname(path), specifier) : specifier,
      isOurs,
      typesOnly: type !== undefined || namesOnlyTypes(clause),
      line: code.slice(0, match.index).split('\n').length,
    };
  });
}
