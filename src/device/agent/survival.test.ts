/** What happens to readers and to the machine when processes die. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { hash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { connectAgent, createRootMounts, type AgentClient } from '../index.ts';
import { listLoopDevices, listMounts } from '../mounts/mounts.ts';
import { processCommand, takenStatus } from '../testing/processes.ts';
import {
  WorkerFixture,
  chunkSizeBytes,
  missingHere,
  startTimeoutMs,
} from '../testing/worker-fixture.ts';

const missing = missingHere();
const user = 'test';

interface Exit {
  readonly status: number | null;
  readonly output: Buffer;
}

function run(program: string, args: string[]): { pid: number; exited: Promise<Exit> } {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const parts: Buffer[] = [];
  child.stdout.on('data', (part: Buffer) => parts.push(part));
  const exited = new Promise<Exit>((resolve) => {
    child.once('close', (status) => resolve({ status, output: Buffer.concat(parts) }));
  });
  assert.ok(child.pid !== undefined);
  return { pid: child.pid, exited };
}

async function parentOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^PPid:\s+(\d+)$/m.exec(status)?.[1]);
}

/** Waits until `condition` holds; fails after a minute or more. */
async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; tries < 3000; tries += 1) {
    if (await condition()) return;
    await delay(20);
  }
  assert.fail(`Waited in vain until ${what}`);
}

async function isGone(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat === '' || stat.includes(') Z ');
}

async function leftovers(dir: string): Promise<string[]> {
  const mounts = (await listMounts()).map(({ mountPoint }) => mountPoint);
  const loops = [...(await listLoopDevices()).values()];
  return [...mounts, ...loops].filter((path) => path.startsWith(dir));
}

describe('readers of an image', { skip: missing }, () => {
  let worker: WorkerFixture;
  let agent: AgentClient;
  let disk: Buffer;
  let digest: string;

  before(async () => {
    worker = await WorkerFixture.create({ memoryBytes: 4 * chunkSizeBytes });
    const sample = await worker.sampleDisk(60, '64M');
    ({ disk } = sample);
    const { exited } = run('sh', ['-c', `cd ${sample.tree} && find . -type f | sort | xargs cat`]);
    digest = hash('sha256', (await exited).output);
    agent = await worker.agent();
  });
  after(async () => worker[Symbol.asyncDispose]());

  test('get the right bytes through loop and ext4 while the agent is killed again and again', async () => {
    const image = await worker.publish(disk);
    const roots = await createRootMounts({ agent, mountsDir: join(worker.dir, 'mounts') });
    await using root = await roots.acquire(image);
    await worker.setOrigin({ delayMs: 20 });
    const script = `cd ${root.path} && find . -type f | sort | xargs cat`;
    const reading = run('sh', ['-c', script]);
    for (let kills = 0; kills < 6; kills += 1) {
      const { pid } = await agent.status();
      const before = (await worker.fetches()).length;
      await until(async () => (await worker.fetches()).length > before + 1, 'it read on');
      process.kill(pid, 'SIGKILL');
    }
    const { status, output } = await reading.exited;
    await worker.setOrigin({});
    assert.equal(status, 0);
    assert.equal(hash('sha256', output), digest);
  });

  test('get the answer of the next agent to a read that a killed one had taken', async () => {
    const image = await worker.publish(disk);
    const { path } = await agent.open({ image, user });
    await agent.dropCaches();
    await worker.setOrigin({ isStalled: true });
    const before = (await worker.fetches()).length;
    const dd = run('dd', [`if=${path}`, 'iflag=direct', 'bs=4096', 'count=1', 'status=none']);
    await until(async () => (await worker.fetches()).length > before, 'the read was taken');
    await worker.setOrigin({});
    process.kill((await agent.status()).pid, 'SIGKILL');
    const { status, output } = await dd.exited;
    assert.equal(status, 0);
    assert.equal(output.compare(disk.subarray(0, 4096)), 0);
    await agent.close({ image, user });
  });

  test('are served by another agent when one stops answering', async () => {
    const image = await worker.publish(disk);
    const { path } = await agent.open({ image, user });
    await agent.dropCaches();
    const { pid } = await agent.status();
    process.kill(pid, 'SIGSTOP');
    const dd = run('dd', [`if=${path}`, 'iflag=direct', 'bs=4096', 'count=1', 'status=none']);
    const { status, output } = await dd.exited;
    assert.equal(status, 0);
    assert.equal(output.compare(disk.subarray(0, 4096)), 0);
    assert.ok(await isGone(pid));
    await agent.close({ image, user });
  });
});

describe('a worker', { skip: missing }, () => {
  let disk: Buffer;
  before(async () => {
    await using made = await WorkerFixture.create();
    ({ disk } = await made.sampleDisk(10, '32M'));
  });

  test('gives readers errors at once when its holder is killed, and the next holder cleans up', async () => {
    await using worker = await WorkerFixture.create({ readDeadlineMs: 60_000 });
    const agent = await worker.agent();
    const image = await worker.publish(disk);
    const roots = await createRootMounts({ agent, mountsDir: join(worker.dir, 'mounts') });
    await roots.acquire(image);
    const { path } = await agent.open({ image, user });
    await agent.dropCaches();
    await worker.setOrigin({ isStalled: true });
    const before = (await worker.fetches()).length;
    const reader = run('dd', [`if=${path}`, 'iflag=direct', 'bs=4096', 'count=1', 'status=none']);
    await until(async () => (await worker.fetches()).length > before, 'the read was taken');
    const { pid } = await agent.status();
    process.kill(await parentOf(pid), 'SIGKILL');
    assert.notEqual((await reader.exited).status, 0);
    await until(async () => isGone(pid), 'the agent is gone');
    await worker.setOrigin({});

    const { images } = await agent.status();
    assert.deepEqual(images, []);
    assert.deepEqual(await leftovers(join(worker.dir, 'mounts')), []);
    await using root = await (
      await createRootMounts({ agent, mountsDir: join(worker.dir, 'mounts') })
    ).acquire(image);
    assert.equal((await run('ls', [root.path]).exited).status, 0);
  });

  test('gives readers errors, and nothing is left, when no agent can be kept alive', async () => {
    await using worker = await WorkerFixture.create({ giveUpAfterMs: 500 });
    const agent = await worker.agent();
    const image = await worker.publish(disk);
    const roots = await createRootMounts({ agent, mountsDir: join(worker.dir, 'mounts') });
    await roots.acquire(image);
    const { path } = await agent.open({ image, user });
    await agent.dropCaches();
    await worker.setOrigin({ isStalled: true });
    await worker.setAgents({ isBroken: true });
    const before = (await worker.fetches()).length;
    const reader = run('dd', [`if=${path}`, 'iflag=direct', 'bs=4096', 'count=1']);
    await until(async () => (await worker.fetches()).length > before, 'the read was taken');
    const { pid } = await agent.status();
    const holder = await parentOf(pid);
    process.kill(pid, 'SIGKILL');
    assert.notEqual((await reader.exited).status, 0);
    await until(async () => isGone(holder), 'the holder has ended');
    assert.deepEqual(await leftovers(worker.dir), []);
    await worker.setAgents({});
  });

  test('leaves no mount, loop device or process when it is stopped with an image mounted', async () => {
    for (const how of ['shutdown', 'SIGTERM'] as const) {
      await using worker = await WorkerFixture.create();
      const agent = await worker.agent();
      const roots = await createRootMounts({ agent, mountsDir: join(worker.dir, 'mounts') });
      await roots.acquire(await worker.publish(disk));
      const { pid } = await agent.status();
      const holder = await parentOf(pid);
      if (how === 'shutdown') await agent.shutdown();
      else process.kill(holder, 'SIGTERM');
      await until(async () => (await isGone(holder)) && (await isGone(pid)), 'both have ended');
      assert.deepEqual(await leftovers(worker.dir), []);
    }
  });

  test('that cannot be started is reported, with where to look', async () => {
    await using worker = await WorkerFixture.create();
    const none = { runDir: worker.runDir, connectTimeoutMs: 100 };
    const unreachable = { code: 'ERR_DEVICE_AGENT_UNREACHABLE', message: /agent\.log/ };
    await assert.rejects(connectAgent(none), unreachable);
    const spawn = { command: ['false'] as [string], mode: 'detached' as const, takenStatus };
    await assert.rejects(connectAgent({ ...none, spawn }), unreachable);
  });

  test("ends with the process that started it, when it is that one's child", async () => {
    await using worker = await WorkerFixture.create();
    const command = processCommand('holder', worker.runDir, worker.originDir);
    const script = `
      const { connectAgent } = await import(${JSON.stringify(import.meta.resolve('../index.ts'))});
      const spawn = { command: ${JSON.stringify(command)}, mode: 'child', takenStatus: ${takenStatus} };
      const agent = await connectAgent({
        runDir: ${JSON.stringify(worker.runDir)}, spawn, connectTimeoutMs: ${startTimeoutMs},
      });
      console.log((await agent.status()).pid);
    `;
    const { status, output } = await run(process.execPath, ['--input-type=module', '-e', script])
      .exited;
    assert.equal(status, 0);
    await until(async () => isGone(Number(output.toString())), 'the agent has ended');
    await until(async () => (await leftovers(worker.dir)).length === 0, 'nothing is mounted');
  });

  test('has one agent, however many start one at the same time', async () => {
    await using worker = await WorkerFixture.create();
    const clients = await Promise.all(Array.from({ length: 3 }, () => worker.connect()));
    const pids = await Promise.all(clients.map(async (client) => (await client.status()).pid));
    assert.equal(new Set(pids).size, 1);
    for (const client of clients) await client.shutdown(); // the holders that came too late as well
    assert.deepEqual(await leftovers(worker.dir), []);
  });

  test('ends with its holder also where that one only begins when another has ended', async () => {
    await using worker = await WorkerFixture.create();
    const go = join(worker.dir, 'go');
    const holder = processCommand('holder', worker.runDir, worker.originDir);
    const late = [
      'sh',
      '-c',
      `until [ -e ${go} ]; do sleep 0.01; done; exec "$@"`,
      'sh',
      ...holder,
    ];
    const spawn = { command: late as [string, ...string[]], mode: 'child' as const, takenStatus };
    const { runDir } = worker;
    const connecting = connectAgent({ runDir, spawn, connectTimeoutMs: startTimeoutMs });
    const { pid } = await (await worker.agent()).status();
    const client = await connecting;
    const ending = client.shutdown();
    await until(async () => isGone(pid), 'the agent has ended');
    await until(async () => (await leftovers(worker.dir)).length === 0, 'nothing is mounted');
    await writeFile(go, '');
    await ending;
    assert.deepEqual(await leftovers(worker.dir), []);
  });

  test('ends by itself after the last image was closed, if told to, and starts again when asked', async () => {
    await using worker = await WorkerFixture.create({ exitWhenIdle: true });
    const agent = await worker.agent('detached');
    const image = await worker.publish(disk);
    await agent.open({ image, user });
    const { pid } = await agent.status();
    const holder = await parentOf(pid);
    await agent.close({ image, user });
    await until(async () => isGone(holder), 'the holder has ended');
    assert.deepEqual(await leftovers(worker.dir), []);
    await agent.open({ image, user });
    assert.notEqual((await agent.status()).pid, pid);
  });
});
