import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { programPath } from './program-path.ts';

test('programPath() finds the first that may be run, in the order of PATH', async (t) => {
  const [first, second] = [
    await mkdtemp(join(tmpdir(), 'a-')),
    await mkdtemp(join(tmpdir(), 'b-')),
  ];
  t.after(async () => {
    for (const directory of [first, second]) await rm(directory, { recursive: true });
  });
  for (const directory of [first, second]) {
    await writeFile(join(directory, 'tool'), '', { mode: 0o755 });
  }
  const environment = { PATH: `/nonexistent:${first}:${second}` };
  assert.equal(programPath('tool', environment), join(first, 'tool'));
  await chmod(join(first, 'tool'), 0o644);
  assert.equal(programPath('tool', environment), join(second, 'tool'));
  assert.equal(programPath('other', environment), undefined);
  assert.equal(programPath('tool', {}), undefined);
});
