/** The link's programs, compiled once with gcc and kept. */

import { createHash, randomUUID } from 'node:crypto';
import { access, mkdir, readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';

import { errorMessage, runCommand } from '../../../src/base/index.ts';

const flags = ['-O2', '-std=c17', '-Wall', '-Wextra', '-Werror'];
const sources = {
  link: ['link.c', 'schedule.c'],
  'schedule-lines': ['schedule-lines.c', 'schedule.c'],
} as const;

/** The path of a program in `directory`, compiled if it is not there yet; throws where there is no gcc. */
export async function compiled(name: keyof typeof sources, directory: string): Promise<string> {
  const here = import.meta.dirname;
  const files = (await readdir(here)).filter((file) => /\.[ch]$/.test(file)).toSorted();
  const digest = createHash('sha256').update(flags.join(' '));
  for (const file of files) digest.update(await readFile(join(here, file)));
  const program = join(directory, `${name}-${digest.digest('hex').slice(0, 16)}`);
  const isThere = await access(program).then(
    () => true,
    () => false,
  );
  if (isThere) return program;
  await mkdir(directory, { recursive: true });
  const making = `${program}.${randomUUID()}`;
  const paths = sources[name].map((file) => join(here, file));
  try {
    await runCommand('gcc', [...flags, '-o', making, ...paths, '-lm']);
  } catch (thrown) {
    const cause = errorMessage(thrown);
    throw new Error(
      `Cannot compile the shaped link, which takes gcc (apt-get install gcc libc6-dev): ${cause}`,
      { cause: thrown },
    );
  }
  await rename(making, program);
  return program;
}
