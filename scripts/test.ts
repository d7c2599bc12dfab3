/**
 * `npm test`: every test that this machine can run, under Node's own runner.
 *
 *     npm test                                   everything
 *     npm test -- src/oci                        one room (a folder, a file or a glob; several are fine)
 *     npm test -- --test-name-pattern=whiteout   any option of `node --test`, in the form --name=value
 *
 * With THAW_TEST_REQUIRE_ALL=1, as in CI, a test that is skipped because it `needs` something fails the run.
 */

import { statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

/** Ends a test or suite that hangs. Far above any honest run, so that a busy machine fails nothing. */
const timeoutMs = 600_000;

/** Tests mostly wait for processes and disks, so that even one core is better used by two files at a time. */
const filesAtATime = Math.max(2, availableParallelism());

function asPattern(path: string): string {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ? `${path}/**/*.test.ts` : path;
}

process.chdir(root);
const args = process.argv.slice(2);
const options = args.filter((arg) => arg.startsWith('-'));
const patterns = args.filter((arg) => !arg.startsWith('-')).map(asPattern);

// Becomes the runner, so that signals and the exit status are the runner's own.
if (process.execve === undefined) throw new Error('Cannot run the tests: they need Linux');
process.execve(process.execPath, [
  process.execPath,
  '--test',
  '--test-reporter=./scripts/test-reporter.ts',
  '--test-reporter-destination=stdout',
  `--test-concurrency=${filesAtATime}`,
  `--test-timeout=${timeoutMs}`,
  `--import=${join(import.meta.dirname, 'leak-watch.ts')}`,
  ...options,
  ...(patterns.length > 0 ? patterns : ['src/**/*.test.ts', 'test/**/*.test.ts']),
]);
