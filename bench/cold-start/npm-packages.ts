/** Which directories of an installed tree a set of packages needs, by its lock file. */

import { present } from '../../src/base/index.ts';

/** What of `package-lock.json` says who needs whom. */
export interface PackageLock {
  readonly packages: Readonly<
    Record<
      string,
      {
        readonly dependencies?: Readonly<Record<string, string>>;
        readonly optionalDependencies?: Readonly<Record<string, string>>;
      }
    >
  >;
}

const modules = 'node_modules/';

/** Where Node finds `name` from within the package at `from`; undefined for an optional one that is not there. */
function resolved(lock: PackageLock, name: string, from: string): string | undefined {
  for (let base = from; ; base = base.slice(0, Math.max(base.lastIndexOf(`/${modules}`), 0))) {
    const path = `${base === '' ? '' : `${base}/`}${modules}${name}`;
    if (path in lock.packages) return path;
    if (base === '') return undefined;
  }
}

/** The directories right below `node_modules` that the packages and all that they depend on take, in byte order. */
export function directoriesOf(lock: PackageLock, names: readonly string[]): readonly string[] {
  const found = new Set<string>();
  const add = (name: string, from: string): void => {
    const path = resolved(lock, name, from);
    if (path === undefined || found.has(path)) return;
    found.add(path);
    const { dependencies, optionalDependencies } = present(lock.packages[path], `package ${path}`);
    for (const needed of Object.keys({ ...dependencies, ...optionalDependencies })) {
      add(needed, path);
    }
  };
  for (const name of names) add(name, '');
  const tops = [...found].map((path) => path.split(`/${modules}`)[0] ?? path);
  return [...new Set(tops)].toSorted();
}
