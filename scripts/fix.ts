/** `npm run fix`: repairs what can be repaired without thought, the linter's safe fixes and the format. */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');

// The linter first: what it changes is formatted after it. What it cannot fix is for `npm run check` to tell.
spawnSync('oxlint', ['--type-aware', '--fix', '--quiet'], { cwd: root, stdio: 'inherit' });
const { status } = spawnSync('oxfmt', [], { cwd: root, stdio: 'inherit' });
process.exitCode = status ?? 1;
