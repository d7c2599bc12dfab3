/**
 * Makes layers as they come about outside: mmdebstrap builds bases, apt and npm install into an unpacked image, umoci
 * finds out what changed and writes the layer. Nothing of ours takes part. Needs root.
 */

import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { cp, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';

import { runCommand } from '../../src/base/index.ts';
import type { DebianRecipe, Recipe, StackRecipe, Step } from './recipes.ts';

const timeoutMs = 600_000;
const sourcesPath = '/etc/apt/sources.list.d/debian.sources';
const mergedUsrHook = '/usr/share/mmdebstrap/hooks/merged-usr';
const aptConfigDir = '/etc/apt/apt.conf.d';
/** The suite that this machine's sources name. */
const hostSuite = 'bookworm';
const lockDirectory = join(import.meta.dirname, 'dependencies');

/** To be raised when the same recipe gives other layers. */
const makerVersion = 1;

/** Of everything outside `recipe` that decides what it gives. */
export async function ingredientsDigest(recipe: Recipe): Promise<string> {
  const digest = createHash('sha256').update(`${makerVersion}`);
  if (recipe.kind === 'debian') digest.update(await hostSources());
  else if (recipe.steps.some((step) => 'nodeWithNpm' in step)) digest.update(process.version);
  else if (recipe.steps.some((step) => 'npm' in step)) {
    digest.update(await readFile(join(lockDirectory, 'package-lock.json')));
  }
  return digest.digest('hex');
}

async function hostSources(): Promise<string> {
  return (await readFile(sourcesPath, 'utf8')).replaceAll(/^#.*\n/gm, '');
}

/** Writes a base's layer to `tar`. */
export async function makeDebian(recipe: DebianRecipe, tar: string): Promise<void> {
  const { suite, variant, include, newestTimeSeconds } = recipe;
  const args = [`--variant=${variant}`, '--mode=root', `--include=${include.join(',')}`];
  args.push(`--hook-dir=${mergedUsrHook}`, ...(await preferenceHooks(recipe, dirname(tar))));
  const env = { ...process.env };
  if (newestTimeSeconds !== undefined) env['SOURCE_DATE_EPOCH'] = `${newestTimeSeconds}`;
  await runCommand('mmdebstrap', [...args, suite, tar, '-'], {
    input: (await hostSources()).replaceAll(hostSuite, suite),
    env,
    timeoutMs,
  });
}

/** What keeps apt from packages and versions while it installs, and is gone afterwards. */
async function preferenceHooks(
  { without = [], older }: DebianRecipe,
  work: string,
): Promise<readonly string[]> {
  const pins = without.map((name) => ({ packages: name, release: 'a=*' }));
  if (older !== undefined) {
    pins.push({ packages: older.packages.join(' '), release: `l=${older.newestFrom}` });
  }
  if (pins.length === 0) return [];
  const outside = join(work, 'preferences');
  const inside = '"$1"/etc/apt/preferences.d';
  const stanzas = pins.map(
    ({ packages, release }) => `Package: ${packages}\nPin: release ${release}\nPin-Priority: -1\n`,
  );
  await writeFile(outside, stanzas.join('\n'));
  return [
    `--setup-hook=mkdir -p ${inside}`,
    `--setup-hook=cp '${outside}' ${inside}/corpus`,
    `--customize-hook=rm ${inside}/corpus`,
  ];
}

/** Writes the layers of a stack over the layers `lower`, as `0.tar`, `1.tar` and so on in `target`. */
export async function makeStack(
  { steps }: StackRecipe,
  lower: readonly string[],
  target: string,
): Promise<void> {
  const layout = join(target, 'layout');
  const bundle = join(target, 'bundle');
  const image = `${layout}:corpus`;
  await runCommand('umoci', ['init', '--layout', layout]);
  await runCommand('umoci', ['new', '--image', image]);
  for (const tar of lower) {
    await runCommand('umoci', ['raw', 'add-layer', '--image', image, tar], { timeoutMs });
  }
  await runCommand('umoci', ['unpack', '--image', image, bundle], { timeoutMs });
  for (const [index, step] of steps.entries()) {
    await takeStep(step, join(bundle, 'rootfs'), target);
    const repack = ['repack', '--refresh-bundle', '--image', image, bundle];
    await runCommand('umoci', repack, { timeoutMs });
    await extractTopLayer(layout, join(target, `${index}.tar`));
  }
  await rm(layout, { recursive: true });
  await rm(bundle, { recursive: true });
}

type Descriptors = readonly { readonly digest: string }[];

async function extractTopLayer(layout: string, tar: string): Promise<void> {
  const blobPath = ([blob]: Descriptors): string => {
    if (blob === undefined) throw new Error(`An image without layers in ${layout}`);
    return join(layout, 'blobs', blob.digest.replace(':', '/'));
  };
  const { manifests } = await readJson<{ manifests: Descriptors }>(join(layout, 'index.json'));
  const { layers } = await readJson<{ layers: Descriptors }>(blobPath(manifests));
  const blob = createReadStream(blobPath(layers.slice(-1)));
  await pipeline(blob, createGunzip(), createWriteStream(tar));
}

async function readJson<Document>(path: string): Promise<Document> {
  return JSON.parse(await readFile(path, 'utf8')) as Document;
}

async function takeStep(step: Step, rootfs: string, work: string): Promise<void> {
  if ('apt' in step) await installDebianPackages(step.apt, rootfs);
  else if ('npm' in step) await installDependencies(step, rootfs);
  else if ('nodeWithNpm' in step) await installNode(step.nodeWithNpm, rootfs, work);
  else await writeSources(step, rootfs);
}

/** As a Dockerfile does, package lists deleted again. */
async function installDebianPackages(packages: readonly string[], rootfs: string): Promise<void> {
  const config = join(rootfs, aptConfigDir);
  await cp(config, `${rootfs}.apt`, { recursive: true });
  await cp(aptConfigDir, config, { recursive: true });
  await cp('/etc/resolv.conf', join(rootfs, 'etc/resolv.conf'));
  const script = [
    'apt-get -q update',
    `apt-get -q install --yes --no-install-recommends ${packages.join(' ')}`,
    'apt-get clean',
    'rm -rf /var/lib/apt/lists/*',
  ];
  const inside = ['--pid', '--fork', `--mount-proc=${join(rootfs, 'proc')}`, 'chroot', rootfs];
  await runCommand('unshare', [...inside, '/bin/sh', '-ec', script.join('\n')], {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', DEBIAN_FRONTEND: 'noninteractive' },
    timeoutMs,
  });
  await rm(config, { recursive: true });
  await rename(`${rootfs}.apt`, config);
}

async function installDependencies(
  { bump, without }: Extract<Step, { readonly npm: unknown }>,
  rootfs: string,
): Promise<void> {
  const app = join(rootfs, 'app');
  await cp(lockDirectory, app, { recursive: true });
  await npm(app, bump === undefined ? ['ci'] : ['install', '--save-exact', bump]);
  const superfluous = ['@next/swc-linux-x64-musl', ...(without === undefined ? [] : [without])];
  for (const name of superfluous) {
    await rm(join(app, 'node_modules', name), { recursive: true, force: true });
  }
}

async function installNode(npmVersion: string, rootfs: string, work: string): Promise<void> {
  const to = join(rootfs, 'usr/local');
  await mkdir(join(to, 'lib/node_modules'), { recursive: true });
  const keepTimes = { recursive: true, preserveTimestamps: true } as const;
  await mkdir(join(to, 'bin'));
  await cp(process.execPath, join(to, 'bin/node'), keepTimes);
  const packed = join(work, 'npm');
  await mkdir(packed);
  await npm(packed, ['install', `npm@${npmVersion}`]);
  await rename(join(packed, 'node_modules/npm'), join(to, 'lib/node_modules/npm'));
  await rm(packed, { recursive: true });
}

async function npm(directory: string, args: readonly string[]): Promise<void> {
  const quiet = [
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--omit-lockfile-registry-resolved',
  ];
  await runCommand('npm', [...args, ...quiet], { cwd: directory, timeoutMs });
}

async function writeSources(
  { sources, seed }: Extract<Step, { readonly sources: unknown }>,
  rootfs: string,
): Promise<void> {
  for (const [path, sizeBytes] of Object.entries(sources)) {
    await mkdir(join(rootfs, dirname(path)), { recursive: true });
    await writeFile(join(rootfs, path), generatedSource(`${seed}:${path}`, sizeBytes));
  }
}

function generatedSource(seed: string, sizeBytes: number): string {
  const lines: string[] = [];
  for (let length = 0, line = 0; length < sizeBytes; line += 1) {
    const name = createHash('sha256').update(`${seed}:${line}`).digest('hex').slice(0, 12);
    const text = `export const answer_${name} = (event) => ({ ...event, line: ${line} });\n`;
    lines.push(text);
    length += text.length;
  }
  return lines.join('').slice(0, sizeBytes);
}
