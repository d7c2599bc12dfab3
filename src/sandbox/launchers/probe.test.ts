import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { detectCgroups } from '../limits/cgroups.ts';
import { createSandboxFactory } from '../factory.ts';
import { probeSandboxFeatures, probeSandboxRuntimes } from './probe.ts';

test('probeSandboxRuntimes says of each runtime that it is usable, or why not', async () => {
  const probes = await probeSandboxRuntimes();
  assert.deepEqual(
    probes.map(({ runtime }) => runtime),
    ['builtin', 'runc', 'crun', 'util-linux'],
  );
  for (const { runtime, usable, reason } of probes) {
    assert.equal(usable, reason === undefined, runtime);
  }
});

test('probeSandboxRuntimes does not take crun where it would set no limits', async () => {
  const crun = (await probeSandboxRuntimes()).find(({ runtime }) => runtime === 'crun');
  if (detectCgroups().kind !== 'unified') assert.equal(crun?.usable, false);
  assert.notEqual(crun?.isolation, undefined);
});

test('createSandboxFactory refuses a runtime that is not usable, with the reason', async () => {
  const path = process.env['PATH'];
  const stateDir = await mkdtemp(join(tmpdir(), 'thaw-probe-'));
  try {
    process.env['PATH'] = '/nowhere';
    await assert.rejects(createSandboxFactory({ stateDir, runtime: 'runc' }), {
      code: 'ERR_SANDBOX_RUNTIME_MISSING',
      message: /thaw doctor/,
    });
    const none = (await probeSandboxRuntimes()).filter(({ runtime }) => runtime !== 'builtin');
    assert.deepEqual(
      none.map(({ usable }) => usable),
      [false, false, false],
    );
    for (const { reason } of none) assert.match(reason ?? '', /install/);
  } finally {
    process.env['PATH'] = path;
    await rm(stateDir, { recursive: true });
  }
});

test('probeSandboxFeatures says of what is missing how to get it', () => {
  const path = process.env['PATH'];
  try {
    process.env['PATH'] = '/nowhere';
    const features = probeSandboxFeatures();
    for (const { name, isThere, remedy } of features) assert.equal(isThere, remedy === '', name);
    assert.match(features.find(({ name }) => name === 'nat')?.remedy ?? '', /nftables/);
  } finally {
    process.env['PATH'] = path;
  }
});
