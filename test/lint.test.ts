/** Proves that the linter sees what it is trusted to see: a linter that quietly sees nothing passes everything. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { projectRoot } from './support/source-files.ts';

/** Lints a small project under our own rules; gives what the linter said and how it ended. */
function lint(
  t: TestContext,
  files: Record<string, string>,
): { status: number | null; output: string } {
  const folder = mkdtempSync(join(tmpdir(), 'thaw-lint-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const name of ['.oxlintrc.json', 'tsconfig.json']) {
    copyFileSync(join(projectRoot, name), join(folder, name));
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  symlinkSync(join(projectRoot, 'node_modules'), join(folder, 'node_modules'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  const oxlint = join(projectRoot, 'node_modules', '.bin', 'oxlint');
  const args = ['--type-aware', '--deny-warnings', ...Object.keys(files)];
  const { status, stdout, stderr } = spawnSync(oxlint, args, { cwd: folder, encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

test('the linter reports a loop of imports through .ts paths', (t) => {
  const { status, output } = lint(t, {
    'a.ts': "import { b } from './b.ts';\nexport const a = (): number => b();\n",
    'b.ts': "import { c } from './c.ts';\nexport const b = (): number => c();\n",
    'c.ts': "import { a } from './a.ts';\nexport const c = (): number => a();\n",
  });
  assert.match(output, /import\(no-cycle\)/);
  assert.equal(status, 1);
});

test('the linter knows types: it reports a promise nobody waits for and a switch that misses a case', (t) => {
  const { status, output } = lint(t, {
    'a.ts': [
      'const later = async (): Promise<void> => {};',
      "export function run(kind: 'x' | 'y'): void {",
      '  later();',
      "  switch (kind) { case 'x': break; }",
      '}',
    ].join('\n'),
  });
  assert.match(output, /no-floating-promises/);
  assert.match(output, /switch-exhaustiveness-check/);
  assert.equal(status, 1);
});

test('the linter lets a test of node:test stand without await', (t) => {
  const { status, output } = lint(t, {
    'a.test.ts': "import { test } from 'node:test';\ntest('passes', async () => {});\n",
  });
  assert.equal(status, 0, output);
});
