/**
 * Makes the functions' images, as an OCI layout with a tag for each, and their zip archives. What has been made is kept beside the corpus,
 * by the digest of what it is made of. Needs what the corpus needs, and gcc, a JDK and zip.
 */

import { createHash, randomUUID } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { errorCode, runCommand } from '../../src/base/index.ts';
import { nodeRuntimeBootstrapPath } from '../../src/sandbox/index.ts';
import { OciLayoutWriter, type WrittenLayer } from '../../test/support/oci-layout.ts';
import { corpusDirectory, corpusImage } from '../corpus/index.ts';
import { packagesUpTo, programsDirectory, type App, type PackagesMb } from './apps.ts';
import { directoriesOf, type PackageLock } from './npm-packages.ts';

export interface AppImage {
  readonly app: App;
  /** The lowest first. */
  readonly layers: readonly WrittenLayer[];
  /** As `oci:DIR:TAG`. */
  readonly source: string;
  /** Changes with the image. */
  readonly digest: string;
  readonly compressedBytes: number;
}

/** To be raised when the same input gives something else. */
const version = 1;
export const timeoutMs = 600_000;
const packagesDirectory = join(import.meta.dirname, 'packages');
export const keptDirectory = join(corpusDirectory, 'cold-start');
export const layoutDirectory = join(keptDirectory, 'layout');
const tarFlags = ['--sort=name', '--numeric-owner', '--owner=0', '--group=0', '--format=posix'];
const times = '--mtime=@1700000000';

export function keyOf(...parts: readonly (string | Uint8Array)[]): string {
  const digest = createHash('sha256').update(`${version}`);
  for (const part of parts) digest.update('\0').update(part);
  return digest.digest('hex').slice(0, 16);
}

/** What `make` gives as JSON, made once for a key. */
export async function once<Made>(
  name: string,
  key: string,
  make: () => Promise<Made>,
): Promise<Made> {
  const path = join(keptDirectory, 'made', `${name}-${key}.json`);
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Made;
  } catch (thrown) {
    if (errorCode(thrown) !== 'ENOENT') throw thrown;
  }
  process.stderr.write(`Making ${name}, once\n`);
  const made = await make();
  await mkdir(join(keptDirectory, 'made'), { recursive: true });
  const writing = `${path}.${randomUUID()}`;
  await writeFile(writing, JSON.stringify(made));
  await rename(writing, path);
  return made;
}

export async function workDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  await mkdir(keptDirectory, { recursive: true });
  const path = await mkdtemp(join(keptDirectory, '.making-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

/** One layer of the layout, compressed as registries have them. */
async function layer(
  name: string,
  key: string,
  writeTar: (tar: string) => Promise<void>,
): Promise<WrittenLayer> {
  return await once(name, key, async () => {
    await using work = await workDirectory();
    const tar = join(work.path, 'layer.tar');
    await writeTar(tar);
    return await (await OciLayoutWriter.open(layoutDirectory)).addLayer({ tar });
  });
}

async function readLock(): Promise<{ readonly text: string; readonly lock: PackageLock }> {
  const text = await readFile(join(packagesDirectory, 'package-lock.json'), 'utf8');
  return { text, lock: JSON.parse(text) as PackageLock };
}

/** The directory with all packages of the lock file. */
async function installedPackages(): Promise<string> {
  const { text } = await readLock();
  const { name } = await once('packages', keyOf(text), async () => {
    const directory = `packages-${keyOf(text)}`;
    await using work = await workDirectory();
    const installed = join(work.path, 'packages');
    await cp(packagesDirectory, installed, { recursive: true });
    const quiet = ['--ignore-scripts', '--no-audit', '--no-fund'];
    await runCommand('npm', ['ci', ...quiet], { cwd: installed, timeoutMs });
    await rename(installed, join(keptDirectory, directory));
    return { name: directory };
  });
  return join(keptDirectory, name);
}

async function packageDirectories(mb: PackagesMb): Promise<readonly string[]> {
  return directoriesOf((await readLock()).lock, packagesUpTo(mb));
}

async function packagesLayer(mb: PackagesMb): Promise<WrittenLayer> {
  const directories = await packageDirectories(mb);
  const { text } = await readLock();
  return await layer(`npm-${mb}`, keyOf(text, directories.join('\n')), async (tar) => {
    const from = ['--transform=s,^,var/task/,', '-C', await installedPackages(), ...directories];
    await runCommand('tar', [...tarFlags, times, '-cf', tar, ...from], { timeoutMs });
  });
}

/** The app's own files, by path from the root. */
async function writeAppFiles(app: App, root: string): Promise<void> {
  const task = join(root, 'var/task');
  await mkdir(task, { recursive: true });
  const source = join(programsDirectory, app.program);
  if (app.program === 'static') {
    for (const name of ['dev', 'etc', 'proc', 'sys', 'tmp']) await mkdir(join(root, name));
    const flags = ['-O2', '-static', '-s', '-o', join(task, 'bootstrap')];
    await runCommand('gcc', [...flags, join(source, 'main.c')]);
  } else if (app.program === 'python') {
    await cp(join(source, 'bootstrap.py'), join(task, 'bootstrap.py'));
  } else if (app.program === 'java') {
    await using classes = await workDirectory();
    await runCommand('javac', ['--release', '17', '-d', classes.path, join(source, 'Main.java')]);
    const jar = ['--create', '--date=2023-11-14T22:13:20Z', '--main-class=Main'];
    await runCommand('jar', [...jar, '--file', join(task, 'app.jar'), '-C', classes.path, '.']);
  } else {
    await writeNodeFiles(app, task);
    await mkdir(join(root, 'var/runtime'));
    await cp(nodeRuntimeBootstrapPath, join(root, 'var/runtime/bootstrap.mjs'));
  }
}

/** `index.js` and a `package.json` that says what it may import. */
async function writeNodeFiles({ packages }: App, task: string): Promise<void> {
  const { mb = 0, isImported = false } = packages ?? {};
  const program = isImported ? 'importing.js' : 'idle.js';
  await cp(join(programsDirectory, 'node', program), join(task, 'index.js'));
  const dependencies = Object.fromEntries(packagesUpTo(mb).map((name) => [name, '*']));
  await writeFile(join(task, 'package.json'), JSON.stringify({ private: true, dependencies }));
}

/** Of the app's own source. */
async function appKey(app: App): Promise<string> {
  const source = join(programsDirectory, app.program);
  const files = (await readdir(source)).toSorted();
  const texts = await Promise.all(files.map((file) => readFile(join(source, file))));
  const names = packagesUpTo(app.packages?.mb ?? 0).join(' ');
  return keyOf(JSON.stringify(app), names, ...texts);
}

async function appLayer(app: App): Promise<WrittenLayer> {
  const runtime = app.program === 'node' ? await readFile(nodeRuntimeBootstrapPath) : '';
  return await layer(`app-${app.id}`, keyOf(await appKey(app), runtime), async (tar) => {
    await using root = await workDirectory();
    await writeAppFiles(app, root.path);
    const names = (await readdir(root.path)).toSorted();
    const from = ['-C', root.path, ...names];
    await runCommand('tar', [...tarFlags, times, '-cf', tar, ...from], { timeoutMs });
  });
}

async function corpusLayer(tar: string): Promise<WrittenLayer> {
  return await layer('corpus', keyOf(tar), async (to) => await cp(tar, to));
}

/** The app's image, made if it is not there yet. */
export async function appImage(app: App): Promise<AppImage> {
  const layers: WrittenLayer[] = [];
  for (const tar of await corpusImage(app.layers)) layers.push(await corpusLayer(tar));
  const mb = app.packages?.mb ?? 0;
  if (mb > 0) layers.push(await packagesLayer(mb));
  layers.push(await appLayer(app));
  const layout = await OciLayoutWriter.open(layoutDirectory);
  const { descriptor } = await layout.addImage({ layers, config: app.config });
  await layout.tag(descriptor, app.id);
  return {
    app,
    layers,
    source: `oci:${layoutDirectory}:${app.id}`,
    digest: descriptor.digest,
    compressedBytes: layers.reduce((sum, { size }) => sum + size, 0),
  };
}

/** Or else the largest would have more than the 50 MB that Lambda takes inline. */
const zipFlags = ['-q', '-9', '-X', '-r'] as const;
const leftOutOfZip = ['-x', '*.map'] as const;

/** The path of the app's zip archive: its own files and its packages, without source maps. Of Node's apps. */
export async function appArchive(app: App): Promise<string> {
  const mb = app.packages?.mb ?? 0;
  const directories = await packageDirectories(mb);
  const { text } = await readLock();
  const flags = [...zipFlags, ...leftOutOfZip].join(' ');
  const key = keyOf(text, directories.join('\n'), await appKey(app), flags);
  const { name } = await once(`zip-${app.id}`, key, async () => {
    await using work = await workDirectory();
    const tree = join(work.path, 'tree');
    await mkdir(tree);
    await writeNodeFiles(app, tree);
    const packages = mb === 0 ? undefined : await installedPackages();
    for (const directory of directories) {
      await cp(join(packages ?? '', directory), join(tree, directory), { recursive: true });
    }
    const archive = `${app.id}-${key}.zip`;
    const made = join(work.path, archive);
    await runCommand('zip', [...zipFlags, made, '.', ...leftOutOfZip], { cwd: tree, timeoutMs });
    await rename(made, join(keptDirectory, archive));
    return { name: archive };
  });
  return join(keptDirectory, name);
}
