import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';

import { buildTar } from '../../test/support/tar-builder.ts';
import { byteString, errorCode, ThawError, type ProgressUpdate } from '../base/index.ts';
import { publishingHouse } from '../publish/testing/publishing-house.ts';
import { createRuntimeImages, runtimesTenant } from '../runtimes/index.ts';
import { NoZoneError } from './errors.ts';
import { createAccessKeys } from './sigv4/access-keys.ts';
import { createLocalWorker } from './local-worker.ts';
import { serveWorker, workerAt } from './worker-socket.ts';
import type { Worker } from './worker.ts';

const oddName = Uint8Array.of(0x6f, 0xff, 0x0a);

interface Setup {
  /** A worker without a runtime: it publishes, and says what mounting lacks. */
  readonly worker: Worker;
  readonly source: string;
}

async function localSetup(t: TestContext): Promise<Setup> {
  const house = await publishingHouse(t);
  const worker = createLocalWorker({
    runtimes: createRuntimeImages(house.deps),
    publish: house.deps,
    accessKeys: createAccessKeys(house.deps),
    ownDirectories: [],
    writableSpaceBytes: 2 ** 30,
    openPrimer: () => Promise.reject(new NoZoneError()),
    runningAgent: async () => undefined,
    startedRuntime: async () => undefined,
    reloadZone: async () => ({ isAgentTold: false }),
    runtime: () =>
      Promise.reject(
        new ThawError({ code: 'ERR_CLI_ENVIRONMENT', fault: 'environment', message: 'No FUSE' }),
      ),
    close: async () => {},
  });
  const tar = buildTar([
    { path: 'main', content: Buffer.alloc(3_000_000, 'main') },
    { path: oddName, type: 'symlink', linkTarget: 'main' },
  ]);
  return { worker, source: await house.image([{ tar }]) };
}

async function socketSetup(t: TestContext): Promise<Setup> {
  const resources = new AsyncDisposableStack();
  // Hooks run in the order they were added: the server waits for its calls before what they work with goes.
  t.after(() => resources.disposeAsync());
  const local = await localSetup(t);
  const directory = await mkdtemp(join(tmpdir(), 'thaw-api-'));
  resources.defer(() => rm(directory, { recursive: true }));
  const socketPath = join(directory, 'serve.sock');
  resources.use(await serveWorker(local.worker, socketPath));
  return { ...local, worker: workerAt(socketPath) };
}

const setups: Readonly<Record<string, (t: TestContext) => Promise<Setup>>> = {
  'a worker in this process': localSetup,
  'a worker behind a socket': socketSetup,
};

for (const [kind, setup] of Object.entries(setups)) {
  test(`${kind} publishes with progress, lists, inspects, checks and removes`, async (t) => {
    const { worker, source } = await setup(t);
    const updates: ProgressUpdate[] = [];
    const progress = (update: ProgressUpdate): void => void updates.push(update);
    const tenant = 'acme';
    const { image, chunks } = await worker.convertImage(
      { source, tenant, name: 'n' },
      { progress },
    );
    assert.equal(chunks.total, chunks.zero + chunks.stored);
    const last = updates.findLast(({ unit }) => unit === 'chunks');
    assert.deepEqual([last?.done, last?.total], [chunks.stored, chunks.stored]);

    assert.deepEqual(await worker.listImages({ tenant }), [image]);
    assert.deepEqual(await worker.listImages({ tenant: 'other' }), []);
    const { document, chunksByCodec } = await worker.inspectImage({ tenant, id: 'n' });
    assert.equal(document.imageDigest, image.imageDigest);
    const { chunkCount, storedBytes } = image;
    assert.deepEqual(chunksByCodec, { none: { chunks: chunkCount, storedBytes } });
    const report = await worker.checkImage({ tenant, id: image.manifestId.slice(0, 8) });
    assert.deepEqual(report.problems, []);
    await worker.removeImage({ tenant, id: 'n' });
    assert.deepEqual(await worker.listImages({ tenant }), []);
  });

  test(`${kind} lists and reads the files of an image, whatever their names`, async (t) => {
    const { worker, source } = await setup(t);
    const tenant = 'acme';
    await worker.convertImage({ source, tenant, name: 'n' });
    const at = (path: string) => ({ tenant, id: 'n', path: byteString(path) });
    const paths: string[] = [];
    for await (const { path } of worker.listImageFiles(at('/'))) paths.push(path);
    assert.deepEqual(paths, ['', 'main', Buffer.from(oddName).toString('latin1')]);
    const pieces: Uint8Array[] = [];
    for await (const piece of worker.readImageFile(at('main'))) pieces.push(piece);
    assert.ok(Buffer.concat(pieces).equals(Buffer.alloc(3_000_000, 'main')));
    for await (const piece of worker.readImageFile(at('main'))) {
      assert.ok(piece.byteLength < 3_000_000); // more would come; closing the worker waits for none of it
      break;
    }
    const codeOf = async (stream: AsyncIterable<unknown>): Promise<string | undefined> => {
      try {
        for await (const _item of stream) break;
      } catch (thrown) {
        return errorCode(thrown);
      }
      return undefined;
    };
    assert.equal(await codeOf(worker.readImageFile(at('/'))), 'ERR_PUBLISH_NOT_A_FILE');
    assert.equal(await codeOf(worker.listImageFiles(at('x'))), 'ERR_PUBLISH_FILE_MISSING');
    const ofNone = worker.listImageFiles({ ...at('/'), id: 'none' });
    assert.equal(await codeOf(ofNone), 'ERR_API_IMAGE_NOT_FOUND');
  });

  test(`${kind} lets nobody act as the tenant of the runtimes`, async (t) => {
    const { worker, source } = await setup(t);
    const tenant = runtimesTenant;
    const image = { tenant, id: 'provided' };
    const calls: readonly (() => Promise<unknown>)[] = [
      () => worker.convertImage({ source, tenant }),
      () => worker.listImages({ tenant }),
      () => worker.inspectImage(image),
      () => worker.checkImage(image),
      () => worker.exportImage({ ...image, path: '/nowhere/x' }),
      () => worker.removeImage(image),
      () => worker.mountImage({ ...image, directory: '/mnt', writable: false }),
      () => worker.createTenant({ name: tenant }),
      () => worker.createAccessKey({ tenant }),
    ];
    for (const call of calls) await assert.rejects(call, { code: 'ERR_API_BAD_NAME' });
    await worker.buildRuntime({ runtime: 'provided' });
    const names = (await worker.listRuntimes()).map(({ name, image: made }) => [name, made?.name]);
    assert.ok(names.some(([name, made]) => name === 'provided' && made === 'provided'));
    const tenants = await worker.listTenants();
    assert.deepEqual(
      tenants.map(({ name }) => name),
      ['default'],
    );
  });

  test(`${kind} throws the codes of the rooms behind it`, async (t) => {
    const { worker, source } = await setup(t);
    const tenant = 'acme';
    await assert.rejects(worker.inspectImage({ tenant, id: 'none' }), {
      code: 'ERR_API_IMAGE_NOT_FOUND',
      fault: 'caller',
    });
    await assert.rejects(worker.convertImage({ source: 'what:ever', tenant }), {
      code: 'ERR_OCI_BAD_REFERENCE',
    });
    await assert.rejects(worker.convertImage({ source, tenant, compress: 'lz4' as 'zstd' }), {
      code: 'ERR_API_BAD_COMPRESSION',
    });
    await worker.convertImage({ source, tenant, name: 'n' });
    await assert.rejects(worker.inspectImage({ tenant: 'other', id: 'n' }), {
      code: 'ERR_API_IMAGE_NOT_FOUND',
    });
    const mount = { tenant, id: 'n', directory: '/mnt', writable: false };
    await assert.rejects(worker.mountImage(mount), { message: 'No FUSE' });
  });

  test(`${kind} stops publishing when the caller gives up`, async (t) => {
    const { worker, source } = await setup(t);
    const abort = new AbortController();
    const reason = new Error('enough');
    const progress = (): void => abort.abort(reason);
    const { signal } = abort;
    await assert.rejects(
      worker.convertImage({ source, tenant: 'acme' }, { signal, progress }),
      reason,
    );
  });
}

test('a server that goes away is an error of the environment', async (t) => {
  const { worker } = await localSetup(t);
  const directory = await mkdtemp(join(tmpdir(), 'thaw-api-'));
  t.after(() => rm(directory, { recursive: true }));
  const socketPath = join(directory, 'serve.sock');
  const server = await serveWorker(worker, socketPath);
  await server[Symbol.asyncDispose]();
  await assert.rejects(workerAt(socketPath).listImages({ tenant: 'acme' }), {
    code: 'ERR_UNIX_NOT_RUNNING',
    fault: 'environment',
  });
});
