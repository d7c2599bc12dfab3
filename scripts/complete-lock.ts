/**
 * `npm run lock`, after `npm install` changed package-lock.json: adds the optional packages that npm left out.
 *
 * Native tools list a package for each platform as an optional dependency. Where the registry at hand serves
 * only some of them, npm writes a lock file without the others, and `npm ci` then refuses that file everywhere.
 * An entry with version and platform is enough: npm passes over packages of other platforms by it.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface LockedPackage {
  readonly version?: string;
  readonly resolved?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
  readonly libc?: readonly string[];
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

export interface LockFile {
  readonly packages: Readonly<Record<string, LockedPackage>>;
}

interface MissingPackage {
  readonly name: string;
  readonly version: string;
  readonly neededBy: string;
}

/** The optional dependencies of locked packages that are not themselves locked. */
export function missingOptionalPackages({ packages }: LockFile): MissingPackage[] {
  return Object.entries(packages).flatMap(([neededBy, { optionalDependencies = {} }]) =>
    Object.entries(optionalDependencies)
      .filter(([name]) => !(`node_modules/${name}` in packages))
      .map(([name, version]) => ({ name, version, neededBy })),
  );
}

/** Reads the platform off the name, the form of which all of these share: `@oxlint/binding-linux-x64-musl`. */
function entryOf(
  { name, version, neededBy }: MissingPackage,
  { packages }: LockFile,
): LockedPackage {
  const platform =
    /(android|darwin|freebsd|linux|openbsd|openharmony|win32)-([a-z0-9]+)(?:-(\w+))?$/.exec(name);
  if (platform === null)
    throw new Error(`Cannot tell the platform of "${name}", which "${neededBy}" needs`);
  const [, os = '', cpu = '', abi] = platform;
  return {
    version,
    cpu: [cpu],
    ...(packages[neededBy]?.dev === true ? { dev: true } : {}),
    ...(abi === 'musl' ? { libc: ['musl'] } : {}),
    optional: true,
    os: [os],
  };
}

function complete(lock: LockFile): LockFile {
  const added = missingOptionalPackages(lock).map(
    (missing) => [`node_modules/${missing.name}`, entryOf(missing, lock)] as const,
  );
  const packages = [...Object.entries(lock.packages), ...added].sort(([a], [b]) =>
    a.localeCompare(b, 'en'),
  );
  return { ...lock, packages: Object.fromEntries(packages) };
}

if (import.meta.main) {
  const path = join(import.meta.dirname, '..', 'package-lock.json');
  const lock = JSON.parse(readFileSync(path, 'utf8')) as LockFile;
  writeFileSync(path, `${JSON.stringify(complete(lock), null, 2)}\n`);
}
