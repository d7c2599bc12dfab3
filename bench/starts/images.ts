/**
 * The images whose starts are measured: layers of the corpus with a program on top, which was built in its image. Each is kept
 * beside the corpus with the disk that `mke2fs -d` makes of it. Needs root, umoci, mke2fs and, for Java, javac.
 */

import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { runCommand } from '../../src/base/index.ts';
import { OciLayoutWriter } from '../../test/support/oci-layout.ts';
import { corpusDirectory, type LayerName } from '../corpus/index.ts';
import { layerFiles, type LayerFile } from '../dedup/layered-image.ts';
import { inRoot } from './in-root.ts';

interface StartRecipe {
  /** The lowest first. */
  readonly layers: readonly LayerName[];
  /** A directory of `programs`, which comes into the image's `/app`. */
  readonly program: string;
  /** Run in the image to build the program. */
  readonly build?: readonly string[];
  /** Run on this machine before, in the program's directory. */
  readonly compile?: readonly string[];
  /** Says `ready` after its first response, and ends. */
  readonly start: readonly string[];
}

const node = '/usr/local/bin/node';

export const startImages = {
  'Node, hello': {
    layers: ['base', 'node'],
    program: 'hello',
    start: [node, '/app/server.js'],
  },
  'Next.js with AWS clients': {
    layers: ['base', 'node', 'dependencies'],
    program: 'next',
    build: [node, '/app/node_modules/next/dist/bin/next', 'build', '/app'],
    start: [node, '/app/server.js'],
  },
  'Python with numpy, pandas': {
    layers: ['base', 'apt-python'],
    program: 'python',
    start: ['/usr/bin/python3', '/app/server.py'],
  },
  'Java 17': {
    layers: ['base', 'apt-java'],
    program: 'java',
    compile: ['javac', '--release', '17', 'Server.java'],
    start: ['/usr/bin/java', '-cp', '/app', 'Server'],
  },
} as const satisfies Readonly<Record<string, StartRecipe>>;

export type StartImageName = keyof typeof startImages;

export const startImageNames = Object.keys(startImages) as readonly StartImageName[];

export interface StartImage {
  /** The lowest first. */
  readonly layers: readonly LayerFile[];
  /** Written by `mke2fs -d`. */
  readonly mke2fsDisk: string;
  readonly start: readonly string[];
}

/** To be raised when the same recipe gives something else. */
const version = 1;
const diskSizeBytes = 2 ** 31;
const timeoutMs = 600_000;
const uuid = '5eed0000-0000-4000-8000-000000000000';
const programsDirectory = join(import.meta.dirname, 'programs');

/** The image with its disk, made if it is not there yet. */
export async function startImage(name: StartImageName): Promise<StartImage> {
  const recipe: StartRecipe = startImages[name];
  const lower = await layerFiles(recipe.layers);
  const directory = join(corpusDirectory, 'starts', await keyOf(recipe, lower));
  if ((await readdir(directory).catch(() => [])).length === 0) {
    await mkdir(join(corpusDirectory, 'starts'), { recursive: true });
    const work = await mkdtemp(`${directory}-making-`);
    process.stderr.write(`Making the image of "${name}", once\n`);
    try {
      await makeImage(recipe, lower, work);
      await rename(work, directory);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }
  const app = { name: recipe.program, path: join(directory, 'app.tar') };
  const mke2fsDisk = join(directory, 'mke2fs.img');
  return { layers: [...lower, app], mke2fsDisk, start: recipe.start };
}

async function keyOf(recipe: StartRecipe, lower: readonly LayerFile[]): Promise<string> {
  const key = createHash('sha256').update(JSON.stringify([version, recipe, lower]));
  const program = join(programsDirectory, recipe.program);
  const files = await readdir(program, { recursive: true, withFileTypes: true });
  const paths = files
    .filter((file) => file.isFile())
    .map((file) => join(file.parentPath, file.name));
  for (const path of paths.toSorted()) key.update(await readFile(path));
  return key.digest('hex').slice(0, 16);
}

async function makeImage(
  recipe: StartRecipe,
  lower: readonly LayerFile[],
  work: string,
): Promise<void> {
  const layout = await OciLayoutWriter.open(join(work, 'layout'));
  const tars = lower.map(({ path }) => ({ tar: path, compression: 'none' }) as const);
  const { descriptor } = await layout.addImage({ layers: tars });
  await layout.tag(descriptor, 'image');
  const root = join(work, 'root');
  await mkdir(root);
  await runCommand('umoci', ['raw', 'unpack', '--image', `${layout.dir}:image`, root], {
    timeoutMs,
  });
  const before = new Set(await readdir(join(root, 'app')).catch(() => []));
  await cp(join(programsDirectory, recipe.program), join(root, 'app'), { recursive: true });
  await buildProgram(recipe, root);
  const added = (await readdir(join(root, 'app'))).filter((name) => !before.has(name));
  const entries = added.toSorted().map((name) => join('app', name));
  const order = ['--sort=name', '--numeric-owner', '--mtime=@1700000000', '--format=posix'];
  await runCommand('tar', [...order, '-C', root, '-cf', join(work, 'app.tar'), ...entries]);
  await makeDisk(join(work, 'mke2fs.img'), root);
  await rm(root, { recursive: true });
  await rm(layout.dir, { recursive: true });
}

async function buildProgram({ compile, build }: StartRecipe, root: string): Promise<void> {
  const app = join(root, 'app');
  if (compile !== undefined) {
    const [program = '', ...args] = compile;
    await runCommand(program, args, { cwd: app });
  }
  if (build === undefined) return;
  await using made = await inRoot(root);
  await made.run(build, { timeoutMs });
  await rm(join(app, '.next/cache'), { recursive: true, force: true });
}

async function makeDisk(path: string, directory: string): Promise<void> {
  const fixed = `hash_seed=${uuid},lazy_itable_init=0,nodiscard`;
  const shape = ['-q', '-t', 'ext4', '-b', '4096', '-O', '^has_journal', '-U', uuid, '-E', fixed];
  await using file = await open(path, 'w');
  await file.truncate(diskSizeBytes);
  await runCommand('mke2fs', [...shape, '-d', directory, path], {
    env: { ...process.env, E2FSPROGS_FAKE_TIME: '1700000000' },
    timeoutMs,
  });
}
