import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { runCommand } from '../../base/index.ts';
import { resolveImageUser } from './image-user.ts';

interface Root extends AsyncDisposable {
  readonly path: string;
}

async function rootWith(files: Readonly<Record<string, string>>): Promise<Root> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-user-'));
  await mkdir(join(path, 'etc'));
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

const accounts = {
  'etc/passwd': 'root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:\n42:x:7:8::/home/answer:\n',
  'etc/group':
    'root:x:0:\napp:x:1001:\nstaff:x:50:app,other\nwheel:x:10:other,app\nnone:x:9:apple\n',
};

test('resolveImageUser knows all forms of the image specification', async () => {
  await using root = await rootWith(accounts);
  const ids = (user: string) => {
    const { uid, gid, additionalGids, home } = resolveImageUser(root.path, user);
    return [uid, gid, additionalGids.join(), home];
  };
  assert.deepEqual(ids(''), [0, 0, '0', '/root']);
  assert.deepEqual(ids('app'), [1000, 1001, '10,50,1001', '/home/app']);
  assert.deepEqual(ids('1000'), [1000, 1001, '10,50,1001', '/home/app']);
  assert.deepEqual(ids('app:staff'), [1000, 50, '50', '/home/app']);
  assert.deepEqual(ids('app:7777'), [1000, 7777, '7777', '/home/app']);
  assert.deepEqual(ids('5:6'), [5, 6, '6', '/']);
  assert.deepEqual(ids('5'), [5, 0, '0', '/']);
  assert.deepEqual(ids('42'), [7, 8, '8', '/home/answer']); // a name made of digits is a name
});

test('resolveImageUser takes numbers, and nothing else, of an image without account files', async () => {
  await using root = await rootWith({});
  assert.equal(resolveImageUser(root.path, '').uid, 0);
  assert.equal(resolveImageUser(root.path, '12:34').gid, 34);
  assert.throws(() => resolveImageUser(root.path, 'app'), { code: 'ERR_SANDBOX_USER' });
});

test('resolveImageUser refuses users that make no sense', async () => {
  await using root = await rootWith({ ...accounts, 'etc/passwd': 'bad:x:minus:0::/:\n' });
  for (const user of [
    'nobody',
    '1:2:3',
    '1:',
    '1:nogroup',
    '-1',
    '4294967295',
    '99999999999',
    'bad',
    'a b',
  ]) {
    assert.throws(() => resolveImageUser(root.path, user), { code: 'ERR_SANDBOX_USER' }, user);
  }
});

test('resolveImageUser follows symlinks inside the image and never out of it', async () => {
  await using root = await rootWith({});
  await writeFile(join(root.path, 'accounts'), 'inside:x:5:6::/:\n');
  await symlink('/accounts', join(root.path, 'etc/passwd')); // absolute: of the image's root
  assert.equal(resolveImageUser(root.path, 'inside').uid, 5);
  await rm(join(root.path, 'etc/passwd'));
  await symlink('../../../../../etc/passwd', join(root.path, 'etc/passwd'));
  assert.throws(() => resolveImageUser(root.path, 'root'), { code: 'ERR_SANDBOX_USER' });
});

test('resolveImageUser neither hangs on a FIFO nor reads a directory', async () => {
  await using root = await rootWith({});
  await runCommand('mkfifo', [join(root.path, 'etc/passwd')]);
  assert.throws(() => resolveImageUser(root.path, 'app'), { code: 'ERR_SANDBOX_ROOT_FILE' });
  await rm(join(root.path, 'etc/passwd'));
  await mkdir(join(root.path, 'etc/passwd'));
  assert.throws(() => resolveImageUser(root.path, 'app'), { code: 'ERR_SANDBOX_ROOT_FILE' });
});
