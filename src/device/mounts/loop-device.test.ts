import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { runCommand } from '../../base/index.ts';
import { mountImageFile } from './attach.ts';
import { attachLoopDevice } from './loop-device.ts';
import { listLoopDevices, listMounts, unmount } from './mounts.ts';
import { makeReferenceDisk, missingHere } from '../testing/worker-fixture.ts';

describe('a loop device', { skip: missingHere() }, () => {
  let dir: string;
  let disk: string;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'thaw-loop-'));
    disk = join(dir, 'disk.img');
    await mkdir(join(dir, 'tree'));
    await mkdir(join(dir, 'mnt'));
    await makeReferenceDisk(join(dir, 'tree'), disk, '8M');
  });
  after(async () => rm(dir, { recursive: true, force: true }));

  test('reads ahead by the default of the kernel, whatever it was set to in an earlier use', async () => {
    const attached = await listLoopDevices();
    const names = (await readdir('/sys/block')).filter((name) => name.startsWith('loop'));
    const free = names.filter((name) => !attached.has(`/dev/${name}`)).map(readAheadPath);
    const earlier = await Promise.all(free.map((path) => readFile(path)));
    await Promise.all(free.map((path) => writeFile(path, '4096')));
    try {
      await mountImageFile(disk, join(dir, 'mnt'));
      const mount = (await listMounts()).find(({ mountPoint }) => mountPoint === join(dir, 'mnt'));
      const used = readAheadPath(basename(mount?.source ?? ''));
      assert.equal(await readFile(used, 'utf8'), '128\n');
    } finally {
      await unmount(join(dir, 'mnt'), { lazily: false });
      await Promise.all(free.map((path, index) => writeFile(path, earlier[index] ?? '128')));
    }
  });

  test('is the own one of each of many who attach at the same time, and all are free afterwards', async () => {
    const files = Array.from({ length: 24 }, (_, index) => join(dir, `file-${index}`));
    for (const [index, file] of files.entries()) {
      await writeFile(file, `file ${index}`);
      await truncate(file, 4096);
    }
    const devices = await Promise.all(
      files.map((path) => attachLoopDevice(path, { writable: false })),
    );
    for (const [index, { path }] of devices.entries()) {
      const { stdout } = await runCommand('head', ['-c', '10', path]);
      assert.equal(stdout.replaceAll('\0', ''), `file ${index}`);
    }
    await Promise.all(devices.map((device) => device[Symbol.asyncDispose]()));
    const left = [...(await listLoopDevices()).values()].filter((file) => file.startsWith(dir));
    assert.deepEqual(left, []);
  });
});

function readAheadPath(name: string): string {
  return join('/sys/block', name, 'queue/read_ahead_kb');
}
