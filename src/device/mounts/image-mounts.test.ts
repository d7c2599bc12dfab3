import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { appendFile, mkdir, readFile, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { runCommand } from '../../base/index.ts';
import { mountUser } from '../agent/agent-calls.ts';
import { mountImageFile } from './attach.ts';
import { mountImage, unmountImage, type AgentClient, type ImageRef } from '../index.ts';
import { listLoopDevices, unmount } from './mounts.ts';
import { WorkerFixture, missingHere, writeSampleTree } from '../testing/worker-fixture.ts';

describe('an image mounted for a person', { skip: missingHere() }, () => {
  let worker: WorkerFixture;
  let agent: AgentClient;
  let image: ImageRef;
  let tree: string;
  let dir: string;

  before(async () => {
    worker = await WorkerFixture.create();
    dir = join(worker.dir, 'mnt');
    await mkdir(dir);
    const sample = await worker.sampleDisk(20, '32M');
    ({ tree } = sample);
    image = await worker.publish(sample.disk);
    agent = await worker.agent();
  });
  after(async () => worker[Symbol.asyncDispose]());

  test('shows the tree until it is unmounted, and then the agent has closed it', async () => {
    await mountImage(agent, image, dir);
    await runCommand('diff', ['-r', '--exclude=lost+found', tree, dir]);
    await assert.rejects(mountImage(agent, image, dir), { code: 'ERR_DEVICE_MOUNT_POINT_TAKEN' });
    await assert.rejects(writeFile(join(dir, 'new'), ''), { code: 'EROFS' });
    await unmountImage(agent, dir);
    assert.deepEqual(await readdir(dir), []);
    assert.deepEqual((await agent.status()).images, []);
    await assert.rejects(unmountImage(agent, dir), { code: 'ERR_DEVICE_NOT_MOUNTED' });
  });

  test('is closed when a plain umount took it away', async () => {
    await mountImage(agent, image, dir);
    assert.equal((await agent.status()).images.length, 1);
    await runCommand('umount', [dir]);
    assert.deepEqual((await agent.status()).images, []);
    const files = [...(await listLoopDevices()).values()];
    assert.deepEqual(
      files.filter((file) => file.startsWith(worker.dir)),
      [],
    );
  });

  test('is closed when a plain umount took it away and the agent was killed, of a writable one what was written too', async () => {
    await mountImage(agent, image, dir, { writable: true });
    await writeFile(join(dir, 'new'), 'hello');
    process.kill((await agent.status()).pid, 'SIGKILL');
    await runCommand('umount', [dir]);
    assert.deepEqual((await agent.status()).images, []);
    assert.deepEqual(await readdir(join(worker.runDir, 'overlays')), []);
  });

  test('is not taken for unmounted while it is being mounted where an image was before', async () => {
    await mountImage(agent, image, dir);
    await unmountImage(agent, dir);
    const use = { image, user: mountUser(dir) };
    const { path } = await agent.open(use);
    assert.equal((await agent.status()).images.length, 1, 'as the agent looks on its own, too');
    await mountImageFile(path, dir);
    await runCommand('diff', ['-r', '--exclude=lost+found', tree, dir]);
    await unmountImage(agent, dir);
  });

  test('takes writes when asked to, which are gone with the mount, and the image stays as it was', async () => {
    await mountImage(agent, image, dir, { writable: true });
    await writeFile(join(dir, 'new'), 'hello');
    await rm(join(dir, 'dir-0'), { recursive: true });
    await runCommand('sync', ['-f', dir]);
    assert.equal(await readFile(join(dir, 'new'), 'utf8'), 'hello');
    await unmountImage(agent, dir);
    assert.deepEqual(await readdir(join(worker.runDir, 'overlays')), []);
    await mountImage(agent, image, dir);
    await runCommand('diff', ['-r', '--exclude=lost+found', tree, dir]);
    await unmountImage(agent, dir);
  });

  test('takes no more writes than it has space for, says so in time, and stays sound', async () => {
    const spaceBytes = 4 * 2 ** 20;
    const use = { image, user: 'test', writable: true };
    const { path } = await agent.open(use);
    await mountImageFile(path, dir, { writable: true, spaceBytes });
    const available = async (): Promise<number> => {
      const { bavail, bsize } = await statfs(dir);
      return bavail * bsize;
    };
    assert.equal(await available(), spaceBytes, 'as df shows it');
    const tooMuch = randomBytes(2 * spaceBytes);
    const fill = (name: string): Promise<void> => writeFile(join(dir, name), tooMuch);
    await assert.rejects(fill('filler'), { code: 'ENOSPC' });
    await runCommand('sync', ['-f', dir]);
    const taken = await readFile(join(dir, 'filler'));
    const size = taken.byteLength;
    assert.ok(size > 0.9 * spaceBytes && size <= spaceBytes, `${size} bytes were taken`);
    assert.ok(taken.equals(tooMuch.subarray(0, size)), 'those that were taken are kept');
    await runCommand('diff', ['-r', '-x', 'lost+found', '-x', 'filler', tree, dir]);
    await rm(join(dir, 'filler'));
    await runCommand('sync', ['-f', dir]);
    assert.equal(await available(), spaceBytes, 'what is removed is there again');
    await assert.rejects(fill('again'), { code: 'ENOSPC' });
    await unmount(dir, { lazily: false });
    await runCommand('e2fsck', ['-f', '-n', path]);
    await agent.close(use);
  });

  test('keeps what was written when the agent is killed, as a filesystem that e2fsck finds clean', async () => {
    const use = { image, user: 'test', writable: true };
    const { path } = await agent.open(use);
    await mountImageFile(path, dir, { writable: true });
    const secret = 'what a tenant wrote '.repeat(500);
    for (let round = 0; round < 3; round += 1) {
      await Promise.all([
        writeSampleTree(join(dir, `written-${round}`), 6),
        (async () => process.kill((await agent.status()).pid, 'SIGKILL'))(),
      ]);
      await writeFile(join(dir, `secret-${round}`), secret);
      await appendFile(join(dir, 'dir-3', 'file-3'), 'x'.repeat(5000 * round));
      await runCommand('sync', ['-f', dir]);
    }
    const copy = join(worker.dir, 'copy');
    await runCommand('cp', ['-a', dir, copy]);
    await unmount(dir, { lazily: false });

    await runCommand('e2fsck', ['-f', '-n', path]);
    await mountImageFile(path, dir, { writable: false });
    await runCommand('diff', ['-r', copy, dir]);
    assert.equal(await readFile(join(dir, 'secret-2'), 'utf8'), secret);
    await unmount(dir, { lazily: false });

    const overlays = join(worker.runDir, 'overlays');
    const names = await readdir(overlays);
    assert.equal(names.length, 2, 'data and bitmap');
    for (const name of names) {
      assert.ok(!(await readFile(join(overlays, name))).includes('what a tenant wrote'));
    }
    await agent.close(use);
    assert.deepEqual(await readdir(overlays), []);
  });
});
