/**
 * The launcher, in a checkout of its own with spaces in its path. npm is a stand-in there, which counts its calls: what
 * is tested is when it is called and what becomes of its failures. CI's fresh clone shows the real one.
 */

import assert from 'node:assert/strict';
import { spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { projectRoot } from './support/source-files.ts';

const workingNpm = `
echo call >> npm-calls
mkdir -p node_modules/.bin
ln -s "$REAL_NODE" node_modules/.bin/node
`;

interface Checkout {
  readonly root: string;
  readonly launch: (args: readonly string[], program?: string) => SpawnSyncReturns<string>;
  readonly environment: NodeJS.ProcessEnv;
  readonly npmCalls: () => number;
}

function checkout(t: TestContext, npm: string | null = workingNpm): Checkout {
  const folder = mkdtempSync(join(tmpdir(), 'thaw-launch-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const root = join(folder, 'a check out');
  for (const name of ['bin', 'scripts', 'src/cli', 'tools'])
    mkdirSync(join(root, name), { recursive: true });
  for (const name of ['bin/thaw', 'scripts/launch'])
    cpSync(join(projectRoot, name), join(root, name));
  writeFileSync(join(root, 'package-lock.json'), '{ "version": 1 }');
  writeFileSync(
    join(root, 'src/cli/main.ts'),
    'console.log(JSON.stringify(process.argv.slice(2)) as string);',
  );
  for (const tool of ['sh', 'readlink', 'dirname', 'cmp', 'cp', 'flock', 'uname', 'mkdir', 'ln']) {
    symlinkSync(
      spawnSync('sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).stdout.trim(),
      join(root, 'tools', tool),
    );
  }
  if (npm !== null) {
    writeFileSync(join(root, 'tools/npm'), `#!/bin/sh\n${npm}`);
    chmodSync(join(root, 'tools/npm'), 0o755);
  }
  const environment = { PATH: join(root, 'tools'), REAL_NODE: process.execPath };
  return {
    root,
    environment,
    launch: (args, program = join(root, 'bin/thaw')) =>
      spawnSync(program, args, { encoding: 'utf8', env: environment, cwd: folder }),
    npmCalls: () => {
      const calls = join(root, 'npm-calls');
      return existsSync(calls) ? readFileSync(calls, 'utf8').trim().split('\n').length : 0;
    },
  };
}

test('thaw installs on its first start, says so on stderr only, and hands its arguments on', (t) => {
  const { launch, npmCalls } = checkout(t);
  const { status, stdout, stderr } = launch(['a b', '$HOME', '', '--json']);
  assert.equal(status, 0);
  assert.deepEqual(JSON.parse(stdout), ['a b', '$HOME', '', '--json']);
  assert.match(stderr, /^Installing what package-lock\.json says[^\n]*\n$/);
  assert.equal(npmCalls(), 1);
});

test('thaw installs nothing and says nothing on its second start, also called through symlinks', (t) => {
  const { root, launch, npmCalls } = checkout(t);
  launch([]);
  const link = join(root, 'tools/thaw');
  symlinkSync('../bin/thaw', link);
  symlinkSync(link, join(root, 'tools/thaw-again'));
  const { stdout, stderr } = launch(['x'], join(root, 'tools/thaw-again'));
  assert.deepEqual([stdout, stderr], ['["x"]\n', '']);
  assert.equal(npmCalls(), 1);
});

test('thaw installs again once package-lock.json says something else', (t) => {
  const { root, launch, npmCalls } = checkout(t, workingNpm.replace('ln -s', 'ln -sf'));
  launch([]);
  writeFileSync(join(root, 'package-lock.json'), '{ "version": 2 }');
  assert.equal(launch([]).status, 0);
  assert.equal(launch([]).status, 0);
  assert.equal(npmCalls(), 2);
});

test('of several first starts one installs, and all succeed', async (t) => {
  const { root, environment, npmCalls } = checkout(t);
  const statuses = await Promise.all(
    [1, 2, 3, 4].map(
      (number) =>
        new Promise((resolve) => {
          spawn(join(root, 'bin/thaw'), [`${number}`], { env: environment, stdio: 'ignore' }).once(
            'close',
            resolve,
          );
        }),
    ),
  );
  assert.deepEqual(statuses, [0, 0, 0, 0]);
  assert.equal(npmCalls(), 1);
});

test('an installation that fails leaves no mark: the next start tries again', (t) => {
  const { launch, npmCalls } = checkout(
    t,
    'echo call >> npm-calls; echo "npm error: no network" >&2; exit 7',
  );
  for (const calls of [1, 2]) {
    const { status, stdout, stderr } = launch([]);
    assert.equal(status, 1);
    assert.equal(stdout, '');
    assert.match(
      stderr,
      /npm error: no network\nthaw: cannot install the dependencies: npm ci ended with status 7, see above\n$/,
    );
    assert.equal(npmCalls(), calls);
  }
});

test('the launcher says what is missing: npm, or a Node for this machine', (t) => {
  assert.match(
    checkout(t, null).launch([]).stderr,
    /^thaw: cannot install the dependencies: there is no npm on PATH/m,
  );
  assert.match(
    checkout(t, 'exit 0').launch([]).stderr,
    /^thaw: cannot install the dependencies: npm brought no Node for Linux/m,
  );
});

test('thaw becomes the program: its process id, its exit status and its signals are the program itself', async (t) => {
  const { root, launch, environment } = checkout(t);
  writeFileSync(join(root, 'src/cli/main.ts'), 'process.exit(Number(process.argv[2]));');
  assert.equal(launch(['42']).status, 42);
  const program =
    "process.on('SIGTERM', () => process.exit(9)); setInterval(() => {}, 1000); console.log(process.pid);";
  writeFileSync(join(root, 'src/cli/main.ts'), program);
  const child = spawn(join(root, 'bin/thaw'), {
    env: environment,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const pid = await new Promise((resolve) => child.stdout.once('data', resolve));
  assert.equal(Number(pid), child.pid);
  child.kill('SIGTERM');
  assert.equal(await new Promise((resolve) => child.once('close', resolve)), 9);
});
