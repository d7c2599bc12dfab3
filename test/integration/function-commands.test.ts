/** `thaw function …` as an administrator uses it, against a running server and real sandboxes. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { exitStatuses } from '../../src/cli/exit-status.ts';
import { missingHere } from '../../src/device/testing/worker-fixture.ts';
import { needsPrograms } from '../support/programs.ts';
import { serveApiOf } from '../support/served-api.ts';
import { echoScript, writeShellImage } from '../support/shell-image.ts';
import { thawFor, type Thaw } from '../support/thaw.ts';

const skip = missingHere() || needsPrograms('busybox');

/** Answers with its version and one variable, whatever it is asked. */
const tellingScript = echoScript.replace(
  '--post-file /tmp/event',
  '--post-data "[\\"$AWS_LAMBDA_FUNCTION_VERSION\\",\\"$MOOD\\"]"',
);

interface Shown {
  readonly name: string;
  readonly version: string;
  readonly manifestId: string;
  readonly state: string;
  readonly memoryMb: number;
}

interface Invoked {
  readonly coldStart: boolean;
  readonly executedVersion: string;
  readonly response: unknown;
}

async function text(thaw: Thaw, ...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await thaw.run(...args);
  assert.equal(status, 0, `thaw ${args.join(' ')}: ${stderr}`);
  return stdout;
}

async function refused(thaw: Thaw, says: RegExp, status: number, ...args: readonly string[]) {
  const run = await thaw.run(...args);
  assert.equal(run.status, status, `thaw ${args.join(' ')}: ${run.stderr}`);
  assert.match(run.stderr, says);
}

test(
  'a function is created, updated, published, aliased, invoked and removed',
  { skip },
  async (t) => {
    const thaw = await thawFor(t);
    const source = await writeShellImage(join(thaw.root, 'layout'), 'x', tellingScript);
    await using _served = await serveApiOf(thaw);
    const of = (verb: string, ...args: readonly string[]) => ['function', verb, 'f', ...args];
    const create = ['--image', source, '--env', 'MOOD=calm', '--memory', '128', '--timeout', '300'];
    const made = await thaw.json<Shown>(...of('create', ...create, '--publish'));
    assert.equal(made.version, '1');
    assert.equal(made.memoryMb, 128);
    await text(thaw, ...of('invoke'));

    assert.equal(await text(thaw, ...of('update', '--env', 'MOOD=wild', '--publish')), 'f:2\n');
    const cold = await thaw.json<Invoked>(...of('invoke'));
    assert.equal(cold.coldStart, true, 'a change makes the next invoke a cold start');
    assert.equal(cold.executedVersion, '$LATEST');
    assert.deepEqual(cold.response, ['$LATEST', 'wild']);

    assert.equal(await text(thaw, 'function', 'alias', 'set', 'f', 'live', '1'), 'f:live\n');
    assert.equal(await text(thaw, ...of('invoke', '--qualifier', 'live')), '["1","calm"]\n');
    const share = ['alias', 'set', 'f', 'live', '--weight', '2=0.25'];
    const weights = await thaw.json<{ additionalVersionWeights: object }>('function', ...share);
    assert.deepEqual(weights.additionalVersionWeights, { 2: 0.25 });
    assert.match(await text(thaw, 'function', 'alias', 'ls', 'f'), /^live +1 +2=0\.25$/m);
    const { status: conflict } = exitStatuses.conflict;
    await refused(thaw, /named by alias "live"/, conflict, ...of('rm', '--qualifier', '2'));
    await text(thaw, 'function', 'alias', 'rm', 'f', 'live');
    await text(thaw, ...of('rm', '--qualifier', '2'));
    assert.match(await text(thaw, ...of('versions')), /^\$LATEST .*\n1 .*\n$/m);

    await text(thaw, ...of('update', '--image', made.manifestId, '--env', 'MOOD=old'));
    await refused(thaw, /used by function "f"/, conflict, 'image', 'rm', made.manifestId);
    const shown = await text(thaw, ...of('get'));
    assert.match(shown, /^variables +MOOD$/m);
    assert.doesNotMatch(shown, /old/, 'values may be secrets');
    await text(thaw, ...of('rm'));
    assert.deepEqual(await thaw.json('function', 'ls'), []);
  },
);
