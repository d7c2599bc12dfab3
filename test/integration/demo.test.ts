/** `npm start`: shows the whole job, and leaves nothing behind however it ends. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { memcachedMissing } from '../../src/cache/testing/memcached.ts';
import { endOf, leftInKernel, type ThawRun } from '../support/thaw.ts';

const launch = join(import.meta.dirname, '../../scripts/launch');
const missing = process.getuid?.() === 0 ? false : 'needs root';

interface DemoEnd extends ThawRun {
  /** Files, mounts, loop devices and processes that outlived the demo. */
  readonly left: readonly string[];
}

/** Runs the demo with temporary files of its own; `signal` is sent when its output matches `when`. */
async function demo(t: TestContext, signal?: NodeJS.Signals, when = /$^/): Promise<DemoEnd> {
  const temporary = await mkdtemp(join(tmpdir(), 'thaw-demo-test-'));
  t.after(() => rm(temporary, { recursive: true, force: true }));
  const child = spawn(launch, ['scripts/demo.ts'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: temporary },
  });
  let output = '';
  child.stdout.on('data', (data: Buffer) => {
    const matchedBefore = when.test(output);
    output += data.toString();
    if (signal !== undefined && !matchedBefore && when.test(output)) child.kill(signal);
  });
  const end = await endOf(child);
  const files = await readdir(temporary);
  const kernel = await leftInKernel(temporary);
  return { ...end, left: [...files, ...kernel, ...(await processesNaming(temporary))] };
}

async function processesNaming(text: string): Promise<readonly string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const commands = pids.map(async (pid) => {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    return command.includes(text) ? [`${pid} ${command.replaceAll('\0', ' ')}`] : [];
  });
  return (await Promise.all(commands)).flat();
}

test(
  'the demo publishes two images, starts a function of each, cold and warm, and shows the tiers',
  {
    skip: missing,
  },
  async (t) => {
    const { status, stdout, stderr, left } = await demo(t);
    assert.equal(status, 0, stderr);
    const published = [...stdout.matchAll(/(\d+) stored: (\d+) unique, (\d+) reused/g)].map(
      (match) => match.slice(1).map(Number),
    );
    assert.equal(published.length, 2);
    const [[stored = 0, unique = 0] = [], [, uniqueToSecond = 0] = []] = published;
    assert.ok(stored > 300 && unique > 300, 'a real image');
    assert.ok(
      uniqueToSecond > 0 && uniqueToSecond <= 3,
      `${uniqueToSecond} chunks for another app`,
    );
    const hasZone = memcachedMissing === false;
    assert.equal(stdout.match(/cold start/g)?.length, hasZone ? 5 : 2);
    assert.equal(stdout.match(/: warm/g)?.length, 2);
    const content = /content +([\d.]+) MiB/.exec(stdout)?.[1];
    assert.ok(Number(content) >= 150, `an image of ${content} MiB`);
    for (const [, chunksRead] of stdout.matchAll(/read +(\d+) of \d+ chunks/g)) {
      assert.ok(Number(chunksRead) < stored / 2, 'a start reads a part of the image');
    }
    const sources = [...stdout.matchAll(/chunks from +(.*)/g)].map(([, source]) => source);
    assert.match(sources[0] ?? '', /^the origin \d+$/);
    if (hasZone) {
      assert.match(sources.at(-3) ?? '', /^the worker's disk \d+/);
      assert.match(sources.at(-2) ?? '', /the zone \d{2,}/);
      assert.match(sources.at(-1) ?? '', /the zone \d{2,}/, 'with a server stopped');
    } else {
      assert.match(stdout, /memcached, which is not installed/);
    }
    assert.deepEqual(left, []);
  },
);

const moments: Readonly<Record<string, readonly [NodeJS.Signals, RegExp]>> = {
  'while it builds the images': ['SIGINT', /Build two/],
  'while it publishes': ['SIGTERM', /Publish "greeter"/],
  'during a cold start': ['SIGINT', /Publish "adder"[^]*uploaded/],
  'between a cold and a warm invoke': ['SIGTERM', /cold start/],
};
for (const [moment, [signal, when]] of Object.entries(moments)) {
  test(
    `the demo leaves nothing behind when it is ended by ${signal} ${moment}`,
    {
      skip: missing,
    },
    async (t) => {
      const { status, stderr, left } = await demo(t, signal, when);
      assert.equal(status, 130, stderr);
      assert.match(stderr, /Interrupted/);
      assert.deepEqual(left, []);
    },
  );
}
