/**
 * `npm run check`: everything that a change must pass. `npm run check -- types lint format tests` runs only the
 * steps named. The layer rules and the tidy rules are among the tests (`test/architecture.test.ts`, `test/tidy.test.ts`).
 */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

/** Programs of node_modules/.bin, which the launcher puts first on PATH. */
const steps = new Map([
  ['types', ['tsc']],
  ['lint', ['oxlint', '--type-aware', '--deny-warnings', '--report-unused-disable-directives']],
  ['format', ['oxfmt', '--check']],
  ['tests', ['node', 'scripts/test.ts']],
]);

function passes(name: string): boolean {
  const [program = '', ...args] = steps.get(name) ?? [];
  process.stdout.write(`\n== ${name}: ${[program, ...args].join(' ')}\n`);
  const { status, error } = spawnSync(program, args, { cwd: root, stdio: 'inherit' });
  if (error !== undefined) process.stderr.write(`Cannot run ${program}: ${error.message}\n`);
  return status === 0;
}

const named = process.argv.slice(2);
const unknown = named.filter((name) => !steps.has(name));
if (unknown.length > 0) {
  process.stderr.write(
    `No such step: ${unknown.join(', ')}; there are ${[...steps.keys()].join(', ')}\n`,
  );
  process.exit(2);
}
const failed = (named.length > 0 ? named : [...steps.keys()]).filter((name) => !passes(name));
process.stdout.write(
  failed.length > 0 ? `\nFailed: ${failed.join(', ')}\n` : '\nAll checks passed\n',
);
process.exitCode = failed.length > 0 ? 1 : 0;
