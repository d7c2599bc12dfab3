import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { programPath, runCommand } from '../base/index.ts';
import { publishingHouse } from '../publish/testing/publishing-house.ts';
import { createRuntimeImages } from './published-runtimes.ts';
import { runtimesTenant } from './runtime-images.ts';
import { writeTar } from './tar-writer.ts';
import { writeImage } from './write-image.ts';

const needsTar = programPath('tar') === undefined ? 'needs tar' : false;
const needsUmoci = programPath('umoci') === undefined ? 'needs umoci' : false;
const nodeRuntime = `nodejs${process.versions.node.split('.')[0]}.x`;

async function temporary(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'thaw-runtimes-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

const long = `${'d'.repeat(60)}/${'e'.repeat(60)}/file`;
const small = [
  { path: 'b/text', kind: 'text', text: 'hello', mode: 0o600 },
  { path: 'a', kind: 'link', target: 'b/text' },
  { path: long, kind: 'text', text: '' },
  { path: 'tmp', kind: 'directory', mode: 0o1777 },
] as const;

test(
  'writeTar writes what tar lists, in byte order, whatever order it was given',
  { skip: needsTar },
  async (t) => {
    const dir = await temporary(t);
    const [first, second] = [join(dir, '1.tar'), join(dir, '2.tar')];
    const written = await writeTar(small, first);
    await writeTar(small.toReversed(), second);
    assert.deepEqual(await readFile(first), await readFile(second));
    assert.equal(written.sizeBytes, (await readFile(first)).byteLength);
    const env = { ...process.env, TZ: 'UTC' };
    const { stdout } = await runCommand('tar', ['--numeric-owner', '-tvf', first], { env });
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => line.replaceAll(/ +/g, ' '));
    assert.deepEqual(lines, [
      'lrwxrwxrwx 0/0 0 1970-01-01 00:00 a -> b/text',
      'drwxr-xr-x 0/0 0 1970-01-01 00:00 b/',
      '-rw------- 0/0 5 1970-01-01 00:00 b/text',
      `drwxr-xr-x 0/0 0 1970-01-01 00:00 ${'d'.repeat(60)}/`,
      `drwxr-xr-x 0/0 0 1970-01-01 00:00 ${'d'.repeat(60)}/${'e'.repeat(60)}/`,
      `-rw-r--r-- 0/0 0 1970-01-01 00:00 ${long}`,
      'drwxrwxrwt 0/0 0 1970-01-01 00:00 tmp/',
    ]);
  },
);

test(
  'writeImage writes a layout that umoci unpacks, twice the same',
  { skip: needsUmoci },
  async (t) => {
    const dir = await temporary(t);
    const tree = { layers: [small], entrypoint: ['/x'], env: { A: 'b' } };
    for (const name of ['1', '2']) {
      await mkdir(join(dir, name));
      await writeImage(tree, join(dir, name), 'runtime');
    }
    const blobs = await readdir(join(dir, '1/blobs/sha256'));
    assert.deepEqual(blobs, await readdir(join(dir, '2/blobs/sha256')));
    const args = ['unpack', '--rootless', '--image', `${join(dir, '1')}:runtime`, join(dir, 'out')];
    await runCommand('umoci', args);
    assert.equal(await readFile(join(dir, 'out/rootfs/a'), 'utf8'), 'hello');
  },
);

test('the runtime of this Node is made on first use, once, and kept', async (t) => {
  const house = await publishingHouse(t);
  const runtimes = createRuntimeImages(house.deps);
  assert.equal(await runtimes.find(nodeRuntime), undefined);
  const [one, other] = await Promise.all([1, 2].map(() => runtimes.ensure(nodeRuntime)));
  assert.deepEqual(one, other);
  assert.equal(one?.tenant, runtimesTenant);
  assert.deepEqual(await runtimes.find(nodeRuntime), one);
  assert.deepEqual((await runtimes.build(nodeRuntime)).imageDigest, one?.imageDigest);
  assert.deepEqual(await readdir(join(house.deps.workDir, 'runtimes')), []);
});

test('a runtime is made anew when its ingredients have changed, and not before', async (t) => {
  const house = await publishingHouse(t);
  const runtimes = createRuntimeImages(house.deps);
  await runtimes.refresh();
  assert.equal(await runtimes.find('provided'), undefined, 'what nobody uses is not made');
  const made = await runtimes.build('provided');
  await runtimes.refresh();
  assert.equal((await house.catalog.listImages(runtimesTenant)).length, 1);

  // As an older Thaw would have made it, and later than the one above.
  const layout = join(await temporary(t), 'layout');
  await mkdir(layout);
  await writeImage({ layers: [small], entrypoint: ['/x'], env: {} }, layout, 'older');
  const source = `oci:${layout}:older`;
  const older = await house.publish(source, { tenant: runtimesTenant, name: 'provided' });
  assert.deepEqual(await runtimes.find('provided'), made, 'the current one, not the newest');
  const restarted = createRuntimeImages(house.deps);
  assert.deepEqual(await restarted.find('provided'), older.image);
  await house.catalog.removeImage(runtimesTenant, made.manifestId);
  await restarted.refresh();
  assert.equal((await restarted.find('provided'))?.imageDigest, made.imageDigest);
});

test('what a killed process left of a runtime is removed by the next', async (t) => {
  const house = await publishingHouse(t);
  const left = join(house.deps.workDir, 'runtimes', '1-1.abc');
  await mkdir(left, { recursive: true });
  await writeFile(join(left, 'layer'), 'x');
  await createRuntimeImages(house.deps).build('provided.al2023');
  assert.equal(existsSync(left), false);
});

test('a runtime that is not known is told of in the words of Lambda', async (t) => {
  const house = await publishingHouse(t);
  const runtimes = createRuntimeImages(house.deps);
  for (const name of ['nodejs1.x', '', 'toString']) {
    await assert.rejects(runtimes.ensure(name), {
      code: 'ERR_RUNTIMES_UNKNOWN',
      message: new RegExp(
        `^Value ${name} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ` +
          `\\[${nodeRuntime}, provided, provided.al2, provided.al2023.*\\] or be a valid ARN$`,
      ),
    });
  }
});
