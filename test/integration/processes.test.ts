/**
 * Many processes of one Thaw, killed at any moment: whoever comes next works as if nothing had been, cleans
 * up after the dead, and leaves the living alone.
 */

import assert from 'node:assert/strict';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';

import { missingHere } from '../../src/device/testing/worker-fixture.ts';
import { exitStatuses } from '../../src/cli/exit-status.ts';
import { needsPrograms } from '../support/programs.ts';
import { echoScript, writeShellImage } from '../support/shell-image.ts';
import { endOf, leftInKernel, thawFor, untilLogged, type Thaw } from '../support/thaw.ts';

const skip = missingHere() || needsPrograms('busybox');

async function thawWithFunction(t: TestContext): Promise<Thaw> {
  const thaw = await thawFor(t);
  const image = await writeShellImage(join(thaw.root, 'layout'), 'echo', echoScript);
  await thaw.json('function', 'create', 'echo', '--image', image, '--timeout', '300');
  return thaw;
}

async function invoke(thaw: Thaw, payload: string, name = 'echo'): Promise<unknown> {
  const command = ['function', 'invoke', name, '--payload', payload];
  const { response } = await thaw.json<{ response: unknown }>(...command);
  return response;
}

/** Resolves when the kernel has nothing more of this Thaw, and its agent has ended. */
async function untilClean(thaw: Thaw): Promise<void> {
  for (;;) {
    const left = await leftInKernel(thaw.root);
    const roots = await readdir(join(thaw.root, 'run/roots')).catch(() => []);
    if (left.length === 0 && roots.length === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function holdersOf(thaw: Thaw): Promise<readonly number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0);
  const commands = await Promise.all(
    pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')),
  );
  return pids.filter((_, index) => {
    const args = commands[index]?.split('\0') ?? [];
    return args.includes('holder') && args.some((arg) => arg.includes(thaw.root));
  });
}

suite('processes of one Thaw', { skip }, () => {
  test('commands that run at once without a server do not meet', async (t) => {
    const thaw = await thawWithFunction(t);
    // What a killed command left: work for the others, who all find it at the same time.
    await mkdir(join(thaw.root, 'run/roots/4194305-1', 'f'.repeat(64)), { recursive: true });
    const payloads = ['1', '2', '3', '4'];
    const responses = await Promise.all(payloads.map((payload) => invoke(thaw, payload)));
    assert.deepEqual(responses, [1, 2, 3, 4]);
    await untilClean(thaw);
  });

  test('a command killed at any moment is cleaned up after by the next', async (t) => {
    const thaw = await thawWithFunction(t);
    for (const delayMs of [300, 450, 600, 750, 900]) {
      const killed = thaw.start('function', 'invoke', 'echo');
      const ended = endOf(killed);
      setTimeout(() => killed.kill('SIGKILL'), delayMs);
      await ended;
      assert.equal(await invoke(thaw, String(delayMs)), delayMs);
    }
    await untilClean(thaw);
  });

  test('a server ends after the calls under way, or at once when told twice', async (t) => {
    const thaw = await thawFor(t);
    const image = await writeShellImage(join(thaw.root, 'layout'), 'hang', 'sleep 1000\n');
    await thaw.json('function', 'create', 'echo', '--image', image, '--timeout', '300');
    const server = thaw.start('serve');
    t.after(() => server.kill('SIGKILL')); // where the test failed
    const ended = endOf(server);
    await untilLogged(server, ' serving ');
    const call = endOf(thaw.start('function', 'invoke', 'echo'));
    // Places that wait for functions lie there as well.
    const sandboxes = () => readdir(join(thaw.root, 'run/sandboxes/sandboxes')).catch(() => []);
    while (!(await sandboxes()).some((name) => name.includes('.fn-'))) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const stopping = untilLogged(server, ' stopping ');
    server.kill('SIGTERM');
    await stopping;
    assert.equal(server.exitCode, null, 'it waits for the call');
    server.kill('SIGTERM');
    const { status, stderr } = await call;
    assert.equal(status, exitStatuses.conflict.status, stderr);
    assert.match(stderr, /told twice to stop/);
    assert.equal((await ended).status, 0);
    assert.deepEqual(await leftInKernel(thaw.root), []);
  });

  test('a server whose holder was killed starts instances again', async (t) => {
    const thaw = await thawWithFunction(t);
    const image = `oci:${thaw.root}/layout:echo`;
    await thaw.json('function', 'create', 'other', '--image', image, '--timeout', '300');
    const server = thaw.start('serve');
    t.after(() => server.kill('SIGKILL')); // where the test failed
    const ended = endOf(server);
    await untilLogged(server, ' serving ');
    assert.equal(await invoke(thaw, '1'), 1);
    for (const pid of await holdersOf(thaw)) process.kill(pid, 'SIGKILL');
    assert.equal(await invoke(thaw, '2', 'other'), 2); // an instance on the image that was mounted
    server.kill('SIGTERM');
    assert.equal((await ended).status, 0);
    await untilClean(thaw);
  });
});
