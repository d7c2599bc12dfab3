/**
 * The command line at its edges: what is typed wrong, named badly, or written to where nobody reads. Needs neither root nor
 * any program of the system but a shell.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import { exitStatuses } from '../../src/cli/exit-status.ts';
import { writeOciLayout } from '../support/oci-layout.ts';
import { buildTar, type TarBuilderEntry } from '../support/tar-builder.ts';
import { endOf, Thaw, thawFor } from '../support/thaw.ts';

async function publishSmallImage(thaw: Thaw, more: Partial<TarBuilderEntry> = {}): Promise<string> {
  const dir = join(thaw.root, 'layout');
  await mkdir(dir, { recursive: true });
  const tar = buildTar([{ path: 'file', content: 'x'.repeat(1000), ...more }]);
  await writeOciLayout(dir, { layers: [{ tar }], tag: 'x' });
  return `oci:${dir}:x`;
}

/** One line that says why, and no stack. */
async function expectUsageError(thaw: Thaw, args: readonly string[], says: RegExp): Promise<void> {
  const { status, stdout, stderr } = await thaw.run(...args);
  const what = `thaw ${args.join(' ')} said: ${stderr}`;
  assert.equal(status, exitStatuses.usage.status, what);
  assert.match(stderr, says, what);
  assert.equal(stderr.trimEnd().split('\n').length, 1, what);
  assert.equal(stdout, '');
}

test('a reader that wants no more of the output is no failure', async (t) => {
  const thaw = await thawFor(t);
  const child = thaw.start('--help');
  child.stdout?.destroy();
  let stderr = '';
  child.stderr?.on('data', (data: Buffer) => (stderr += data.toString()));
  const [status] = (await once(child, 'close')) as [number];
  assert.equal(stderr, '');
  assert.equal(status, 0);
});

test('a result that cannot be written is told of in one line', async (t) => {
  const thaw = await thawFor(t);
  const program = join(import.meta.dirname, '../../bin/thaw');
  const script = '"$0" --root "$1" image ls >/dev/full';
  const child = spawn('/bin/sh', ['-c', script, program, thaw.root]);
  let stderr = '';
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  const [status] = (await once(child, 'close')) as [number];
  assert.match(stderr, /^thaw: Cannot write the result: ENOSPC.*\n$/);
  assert.equal(status, exitStatuses.noSpace.status);
});

test('a publisher is told of attributes that the disk cannot have', async (t) => {
  const thaw = await thawFor(t);
  const xattrs = { 'trusted.overlay.opaque': 'y', 'user.kept': 'x' };
  const source = await publishSmallImage(thaw, { xattrs });
  const { status, stdout, stderr } = await thaw.run('image', 'convert', source, '--json');
  assert.equal(status, 0, stderr);
  assert.match(stderr, /warn left out extended attributes .* trusted\.overlay=1\n$/);
  const { leftOutXattrs } = JSON.parse(stdout) as { leftOutXattrs: unknown };
  assert.deepEqual(leftOutXattrs, { 'trusted.overlay': 1 });
});

test('names that no tenant can have are refused by every command', async (t) => {
  const thaw = await thawFor(t);
  const source = await publishSmallImage(thaw);
  for (const tenant of ['', '../x', 'a/b', 'a\nb', 'ünï', 'a'.repeat(300)]) {
    for (const command of [
      ['image', 'convert', source],
      ['function', 'invoke', 'f'],
    ]) {
      await expectUsageError(thaw, [...command, '--tenant', tenant], /name of a tenant.*1 to 64/);
    }
  }
  const commands = ['image ls', 'image inspect x', 'function ls', 'function logs f'];
  for (const command of commands) {
    await expectUsageError(thaw, [...command.split(' '), '--tenant', '../x'], /name of a tenant/);
  }
});

test('an image name is one line of text', async (t) => {
  const thaw = await thawFor(t);
  const source = await publishSmallImage(thaw);
  for (const name of ['', 'a\nb', 'a\u001b[2Jb', 'a'.repeat(3000)]) {
    await expectUsageError(thaw, ['image', 'convert', source, '--name', name], /name of an image/);
  }
  assert.deepEqual(await thaw.json('image', 'ls'), []);
});

test('a keyring that is lost while there are images is not made anew', async (t) => {
  const thaw = await thawFor(t);
  const source = await publishSmallImage(thaw);
  await thaw.json('image', 'convert', source, '--name', 'one');
  const keyring = join(thaw.root, 'keyring.json');
  await rename(keyring, `${keyring}.away`);
  for (const tenant of ['default', 'other']) {
    const args = ['image', 'convert', source, '--name', 'two', '--tenant', tenant];
    const { status, stderr } = await thaw.run(...args);
    assert.equal(status, exitStatuses.refused.status, stderr);
    assert.match(stderr, /Cannot find the key of .*keyring\.json.* restore the keyring/);
  }
  await assert.rejects(stat(keyring), { code: 'ENOENT' });
  await rename(`${keyring}.away`, keyring);
  await thaw.json('image', 'convert', source, '--name', 'two');
});

test('a keyring that is lost while a tenant has only access keys is not made anew', async (t) => {
  const thaw = await thawFor(t);
  await thaw.json('tenant', 'create', 'other');
  await thaw.json('tenant', 'key', 'create', 'other');
  await rm(join(thaw.root, 'keyring.json'));
  const { status, stderr } = await thaw.run('tenant', 'key', 'create', 'other');
  assert.equal(status, exitStatuses.refused.status, stderr);
  assert.match(stderr, /Cannot find the key of .*restore the keyring/);
});

test('with --json an error is one line of JSON as well', async (t) => {
  const thaw = await thawFor(t);
  for (const [args, code, status] of [
    [['image', 'inspect', 'none'], 'ERR_API_IMAGE_NOT_FOUND', exitStatuses.notFound.status],
    [['image', 'cat', 'none', '/x'], 'ERR_API_IMAGE_NOT_FOUND', exitStatuses.notFound.status],
    [['image', 'ls', '--no-such-option'], 'ERR_CLI_USAGE', exitStatuses.usage.status],
    [['image', 'inspect'], 'ERR_CLI_USAGE', exitStatuses.usage.status],
    [['image', 'ls', '--config', '/nonexistent'], 'ERR_CLI_CONFIG', exitStatuses.usage.status],
  ] as const) {
    const run = await thaw.run(...args, '--json');
    const { error } = JSON.parse(run.stderr) as { error: Readonly<Record<string, unknown>> };
    assert.deepEqual([error['code'], error['status'], run.status], [code, status, status]);
    assert.match(String(error['message']), /^[A-Z]/);
    assert.equal(run.stderr.split('\n').length, 2);
    assert.equal(run.stdout, '');
  }
});

test('the files of an image are listed and read, whatever their names, and the reader may stop early', async (t) => {
  const thaw = await thawFor(t);
  const dir = join(thaw.root, 'layout');
  await mkdir(dir);
  const name = Buffer.from([0x61, 0x0a, 0xff]);
  const tar = buildTar([
    { path: 'dir/' },
    { path: Buffer.concat([Buffer.from('dir/'), name]), content: 'odd' },
    { path: 'big', content: Buffer.alloc(5_000_000, 'big') },
    { path: 'link', type: 'symlink', linkTarget: 'dir' },
  ]);
  await writeOciLayout(dir, { layers: [{ tar }], tag: 'x' });
  await thaw.json('image', 'convert', `oci:${dir}:x`, '--name', 'small');
  const listed = await thaw.run('image', 'files', 'small', 'link/');
  assert.match(listed.stdout, /^drwx.* \/dir\n-rw.* \/dir\/a\\012\\377\n$/);
  const lines = (await thaw.run('image', 'files', 'small', '--json')).stdout.trimEnd().split('\n');
  const paths = lines.map((line) => (JSON.parse(line) as { path: string }).path);
  assert.deepEqual(paths, ['/', '/big', '/dir', '/dir/a\n\uFFFD', '/link']);
  const odd = await thaw.run('image', 'cat', 'small', '/link/a\\012\\377', '--escaped');
  assert.equal(odd.stdout, 'odd');
  for (const [path, cause] of [
    ['nowhere', 'notFound'],
    ['dir', 'usage'],
  ] as const) {
    const { status, stdout, stderr } = await thaw.run('image', 'cat', 'small', path);
    assert.equal(status, exitStatuses[cause].status, stderr);
    assert.match(stderr, /^thaw: Cannot .*\n$/);
    assert.equal(stdout, '');
  }
  const program = join(import.meta.dirname, '../../bin/thaw');
  const script = '{ "$0" --root "$1" image cat small big; echo $? >&2; } | head -c 4';
  const child = spawn('/bin/sh', ['-c', script, program, thaw.root]);
  const { stdout, stderr } = await endOf(child);
  assert.deepEqual([stdout, stderr], ['bigb', '0\n']);
});

test('an export goes nowhere but to a new file in a directory that is there', async (t) => {
  const thaw = await thawFor(t);
  const { manifestId } = await thaw.json<{ manifestId: string }>(
    'image',
    'convert',
    await publishSmallImage(thaw),
  );
  const args = ['image', 'export', manifestId];
  await expectUsageError(thaw, [...args, '/nonexistent/disk'], /"\/nonexistent\/disk": ENOENT/);
  const file = join(thaw.root, 'file');
  await writeFile(file, 'mine');
  await expectUsageError(thaw, [...args, join(file, 'disk')], /ENOTDIR/);
  const outputs = join(thaw.root, 'outputs');
  await mkdir(outputs);
  const target = join(outputs, 'disk');
  const runs = await Promise.all([thaw.run(...args, target), thaw.run(...args, target)]);
  const statuses = new Set(runs.map(({ status }) => status));
  assert.deepEqual(statuses, new Set([exitStatuses.ok.status, exitStatuses.conflict.status]));
  assert.deepEqual(await readdir(outputs), ['disk'], 'nothing else is left there');
});

test('places to mount on that are no directory are refused', async (t) => {
  const thaw = await thawFor(t);
  await thaw.json('image', 'convert', await publishSmallImage(thaw), '--name', 'small');
  const file = join(thaw.root, 'file');
  await writeFile(file, '');
  await expectUsageError(thaw, ['image', 'mount', 'small', '/nonexistent'], /ENOENT/);
  await expectUsageError(thaw, ['image', 'mount', 'small', file], /no directory/);
  await expectUsageError(thaw, ['image', 'umount', '/nonexistent'], /ENOENT/);
  for (const place of ['store', 'store/r1/chunks', 'tmp', '.', '..']) {
    const mount = ['image', 'mount', 'small', join(thaw.root, place)];
    await expectUsageError(thaw, mount, /state of Thaw lies there/);
  }
});

test('a payload file that is not UTF-8, or cannot be read, is refused', async (t) => {
  const thaw = await thawFor(t);
  const file = join(thaw.root, 'payload');
  await writeFile(file, Buffer.from([0x22, 0xff, 0x22]));
  const invoke = ['function', 'invoke', 'f', '--payload'];
  await expectUsageError(thaw, [...invoke, `@${file}`], /payload.*encoded data was not valid/);
  await expectUsageError(thaw, [...invoke, '@/nonexistent'], /"\/nonexistent": ENOENT/);
});

test('a root whose sockets would have too long a path can publish, and is told why it cannot serve', async (t) => {
  const { root } = await thawFor(t);
  const thaw = new Thaw(join(root, 'deep'.repeat(30)));
  await mkdir(thaw.root);
  assert.equal((await thaw.run('image', 'convert', await publishSmallImage(thaw))).status, 0);
  await expectUsageError(thaw, ['serve'], /Cannot make sockets in .* too long; choose a shorter/);
});

test('a root that cannot be a directory is refused, whatever the kernel says of it', async () => {
  for (const root of ['/proc/thaw/state', '/dev/null', '/dev/null/x']) {
    const { status, stderr } = await new Thaw(root).run('image', 'ls');
    assert.equal(status, exitStatuses.environment.status, stderr);
    assert.match(stderr, /^thaw: Cannot keep state in "\/(proc|dev)\/.*\n$/);
  }
});
