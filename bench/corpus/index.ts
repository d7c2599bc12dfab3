/**
 * Layers and images of real Debian and npm packages, for benchmarks. Made once per machine, in minutes, and kept as plain tar
 * files under $THAW_BENCH_CORPUS, by default `thaw-bench-corpus` in the temporary directory; delete that to have
 * them made anew of today's packages. Needs root, mmdebstrap, umoci, npm, a Debian archive and an npm registry.
 */

import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ingredientsDigest, makeDebian, makeStack } from './make-layers.ts';
import { corpusImages, recipes, type LayerName, type Recipe } from './recipes.ts';

export { corpusImages, type LayerName };

/** All layers that there are. */
export const layerNames = Object.keys(recipes) as readonly LayerName[];

/** Where everything is kept that is made once. */
export const corpusDirectory =
  process.env['THAW_BENCH_CORPUS'] ?? join(tmpdir(), 'thaw-bench-corpus');

/** The tar files of what `name` stands for: one, or those of a stack from the lowest on. Not to be changed. */
export async function corpusLayers(name: LayerName): Promise<readonly string[]> {
  const directory = await made(name);
  const tars = (await readdir(directory)).filter((file) => file.endsWith('.tar'));
  return tars
    .toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10))
    .map((file) => join(directory, file));
}

/** The tar file of a base, or of the highest layer of a stack. Not to be changed. */
export async function corpusLayer(name: LayerName): Promise<string> {
  const tar = (await corpusLayers(name)).at(-1);
  if (tar === undefined) throw new Error(`No layer of "${name}"`);
  return tar;
}

/** The tar files of an image, the lowest layer first. */
export async function corpusImage(names: readonly LayerName[]): Promise<readonly string[]> {
  const tars: string[] = [];
  for (const name of names) tars.push(...(await corpusLayers(name)));
  return tars;
}

/** The directory with the layers of `name`, which appears once they are complete. */
async function made(name: LayerName): Promise<string> {
  const directory = join(corpusDirectory, `${name}-${await recipeDigest(name)}`);
  if (await isThere(directory)) return directory;
  await mkdir(corpusDirectory, { recursive: true });
  const work = await mkdtemp(join(corpusDirectory, '.making-'));
  const recipe: Recipe = recipes[name];
  process.stderr.write(`Making ${name}, once\n`);
  try {
    if (recipe.kind === 'debian') await makeDebian(recipe, join(work, '0.tar'));
    else await makeStack(recipe, await lowerLayers(recipe), work);
    await rename(work, directory).catch(async (error: unknown) => {
      if (!(await isThere(directory))) throw error; // or else another process made it meanwhile
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return directory;
}

async function lowerLayers(recipe: Recipe): Promise<readonly string[]> {
  const over = overOf(recipe);
  return over === undefined ? [] : await corpusLayers(over);
}

async function recipeDigest(name: LayerName): Promise<string> {
  const recipe: Recipe = recipes[name];
  const over = overOf(recipe);
  const digest = createHash('sha256').update(JSON.stringify(recipe));
  digest.update(await ingredientsDigest(recipe));
  if (over !== undefined) digest.update(await recipeDigest(over));
  return digest.digest('hex').slice(0, 12);
}

function overOf(recipe: Recipe): LayerName | undefined {
  if (recipe.kind === 'debian' || recipe.over === undefined) return undefined;
  if (!(recipe.over in recipes)) throw new Error(`No recipe "${recipe.over}"`);
  return recipe.over as LayerName;
}

async function isThere(directory: string): Promise<boolean> {
  return await readdir(directory).then(
    () => true,
    () => false,
  );
}
