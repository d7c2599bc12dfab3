/** Runtimes of the Pythons that this machine's distribution has, with the standard library and nothing else. */

import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { baseLayer } from './base-layer.ts';
import { copyOf, exists, librariesOf } from './machine-programs.ts';
import { runtimeEnvironment, type RuntimeEntry, type RuntimeTree } from './runtime-tree.ts';

const bootstrap = fileURLToPath(new URL('./python/bootstrap.py', import.meta.url));
const bootstrapInImage = '/var/runtime/bootstrap.py';
const programsDirectory = '/usr/bin';
/** Parts of the standard library that no function needs: tests, tools, what is for building Python itself. */
const leftOut = /^(test|idlelib|lib2to3|tkinter|turtledemo|ensurepip|pydoc_data|config-.*)(\/|$)/;

/** By Lambda's name, e.g. `python3.11`. */
export async function pythonRuntimes(): Promise<Record<string, () => Promise<RuntimeTree>>> {
  const programs = await readdir(programsDirectory).catch(() => []);
  const versions = programs.filter((name) => /^python3\.\d+$/.test(name));
  const runtimes: Record<string, () => Promise<RuntimeTree>> = {};
  for (const version of versions) {
    if (await exists(`/usr/lib/${version}/os.py`)) {
      runtimes[version] = async () => await pythonTree(version);
    }
  }
  return runtimes;
}

async function pythonTree(version: string): Promise<RuntimeTree> {
  const program = `${programsDirectory}/${version}`;
  const inImage = `/var/lang/bin/${version}`;
  const library = await libraryOf(version);
  const extensions = library.flatMap((entry) =>
    entry.kind === 'copy' && entry.source.endsWith('.so') ? [entry.source] : [],
  );
  return {
    layers: [
      await baseLayer(),
      [
        copyOf(program, inImage),
        { path: 'var/lang/bin/python3', kind: 'link', target: version },
        copyOf(bootstrap, bootstrapInImage),
        ...library,
        ...(await librariesOf([program, ...extensions])),
      ],
    ],
    entrypoint: [inImage, bootstrapInImage],
    env: { ...runtimeEnvironment, PYTHONPATH: '/var/runtime' },
  };
}

/** With times, by which Python knows whether what it has compiled is of the source that is there. */
async function libraryOf(version: string): Promise<RuntimeEntry[]> {
  const directory = `/usr/lib/${version}`;
  const all = await readdir(directory, { recursive: true, withFileTypes: true });
  return all
    .filter((file) => file.isFile())
    .map((file) => `${file.parentPath}/${file.name}`.slice(directory.length + 1))
    .filter((path) => !leftOut.test(path))
    .toSorted()
    .map((path) => ({
      ...copyOf(`${directory}/${path}`, `/var/lang/lib/${version}/${path}`),
      keepsTime: true,
    }));
}
