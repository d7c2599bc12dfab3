/**
 * Many processes of one Thaw, killed at any moment: whoever comes next works as if nothing had been, cleans
 * up after the dead, and leaves the living alone.
 */

import assert from 'node:assert/strict';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';

import { missingHere } from '../../src/device/testing/worker-fixture.ts';
import { needsPrograms } from '../support/programs.ts';
import { echoScript, writeShellImage } from '../support/shell-image.ts';
import { endOf, leftInKernel, thawFor, type Thaw } from '../support/thaw.ts';

const skip = missingHere() || needsPrograms('busybox');

async function thawWithFunction(t: TestContext): Promise<Thaw> {
  const thaw = await thawFor(t);
  const image = await writeShellImage(join(thaw.root, 'layout'), 'echo', echoScript);
  await thaw.json('function', 'create', 'echo', '--image', image, '--timeout', '30');
  return thaw;
}

async function invoke(thaw: Thaw, payload: string): Promise<unknown> {
  const command = ['function', 'invoke', 'echo', '--payload', payload];
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

suite('processes of one Thaw', { skip, timeout: 120_000 }, () => {
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
});
