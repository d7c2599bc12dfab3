/**
 * Functions on real mounts and in real sandboxes: a Node function does everything wrong that a
 * function can do, and every caller gets what Lambda would give, and nothing is left on the
 * machine.
 */

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';

import Database from 'better-sqlite3';

import { createLog, errorCode, present } from '../../src/base/index.ts';
import { openCatalog } from '../../src/catalog/index.ts';
import { imageRecord } from '../../src/catalog/testing/records.ts';
import { createRootMounts } from '../../src/device/index.ts';
import {
  makeReferenceDisk,
  missingHere,
  WorkerFixture,
} from '../../src/device/testing/worker-fixture.ts';
import {
  createFunctionService,
  type CreateFunctionRequest,
  type FunctionService,
  type InvokeResult,
} from '../../src/functions/index.ts';
import type { ImageDocument } from '../../src/publish/index.ts';
import {
  createSandboxFactory,
  nodeRuntimeBootstrapPath,
  type SandboxFactory,
} from '../../src/sandbox/index.ts';
import {
  buildTestRoot,
  cannotRunSandboxes,
  nodeInRoot,
} from '../../src/sandbox/testing/test-root.ts';
import { needsPrograms } from '../support/programs.ts';
import { leftInKernel } from '../support/thaw.ts';

const handlerSource = `
let count = 0;
exports.handler = async (event) => {
  count += 1;
  console.log('asked to ' + event.do);
  switch (event.do) {
    case 'answer': return { count, event, env: process.env, cwd: process.cwd() };
    case 'throw': throw new TypeError('as told');
    case 'exit': process.exit(3);
    case 'crash': process.abort();
    case 'hang': for (;;);
    case 'swell': { const held = []; for (;;) held.push(Buffer.alloc(16 << 20, 1)); }
    case 'flood':
      await new Promise((resolve) => process.stdout.write(('x'.repeat(999) + '\\n').repeat(3000), resolve));
      return 'flooded';
    case 'leave': setTimeout(() => process.exit(0), 20); return 'gone soon';
  }
};
`;

function documentOf(config: Partial<ImageDocument['config']>): ImageDocument {
  return {
    reference: 'test',
    imageDigest: 'sha256:0',
    platform: 'linux/amd64',
    fileCount: 1,
    contentBytes: 1,
    config: {
      entrypoint: [nodeInRoot, '/opt/bootstrap.mjs'],
      cmd: ['app.handler'],
      env: [],
      workingDir: '/srv',
      user: '',
      labels: {},
      stopSignal: 'SIGTERM',
      ...config,
    },
  };
}

const logFileSizeMaxBytes = 200_000;
const tenant = 'tenant-a';

function watchingFreezes(factory: SandboxFactory, freezes: Promise<void>[]): SandboxFactory {
  return {
    ...factory,
    create: async (...of) => {
      const sandbox = await factory.create(...of);
      const freeze = sandbox.freeze.bind(sandbox);
      sandbox.freeze = () => {
        const frozen = freeze();
        freezes.push(frozen);
        return frozen;
      };
      return sandbox;
    },
  };
}

/** Everything between the image on disk and the service. */
class Machine implements AsyncDisposable {
  readonly dir: string;
  readonly service: FunctionService;
  readonly manifestId: string;
  /** What the service had to tell its administrator. */
  readonly warnings: string[];
  /** Each resolves when the kernel has frozen a sandbox. */
  readonly freezes: Promise<void>[];
  readonly #resources: AsyncDisposableStack;

  private constructor(
    parts: Pick<Machine, 'dir' | 'service' | 'manifestId' | 'warnings' | 'freezes'>,
    resources: AsyncDisposableStack,
  ) {
    this.dir = parts.dir;
    this.service = parts.service;
    this.manifestId = parts.manifestId;
    this.warnings = parts.warnings;
    this.freezes = parts.freezes;
    this.#resources = resources;
  }

  static async start(): Promise<Machine> {
    await using resources = new AsyncDisposableStack();
    const worker = resources.use(await WorkerFixture.create({ memoryBytes: 512 * 2 ** 20 }));
    const { dir } = worker;
    const image = await worker.publish(await buildDisk(join(dir, 'disk.img')), tenant);
    const catalogPath = join(dir, 'catalog.db');
    const catalog = resources.use(await openCatalog(catalogPath));
    const database = new Database(catalogPath);
    database.prepare(`insert into roots values (?, 'active', 1)`).run(image.rootId);
    database.close();
    await catalog.addImage(imageRecord(image));
    const warnings: string[] = [];
    const log = createLog({ level: 'warn', write: (line) => warnings.push(line) });
    const mounts = await createRootMounts({
      agent: await worker.agent(),
      mountsDir: join(dir, 'mounts'),
    });
    resources.defer(() => mounts.close());
    const freezes: Promise<void>[] = [];
    const sandboxes = await createSandboxFactory({ stateDir: join(dir, 'sandboxes') });
    const service = createFunctionService({
      catalog,
      mounts,
      sandboxes: watchingFreezes(sandboxes, freezes),
      imageDocument: async () => documentOf({}),
      logsDir: join(dir, 'logs'),
      log,
      limits: { logFileSizeMaxBytes },
    });
    resources.defer(() => service.close());
    const { manifestId } = image;
    return new Machine({ dir, service, manifestId, warnings, freezes }, resources.move());
  }

  async create(
    name: string,
    fields: Pick<CreateFunctionRequest, 'memoryMb' | 'timeoutSeconds' | 'imageConfig'> = {},
  ): Promise<void> {
    await this.service.create({
      tenant,
      name,
      code: { packageType: 'Image', imageUri: this.manifestId },
      memoryMb: 1769,
      timeoutSeconds: 300,
      environment: { OWN: 'mine' },
      ...fields,
    });
  }

  async invoke(name: string, event: unknown): Promise<InvokeResult> {
    const payload = Buffer.from(JSON.stringify(event));
    return await this.service.invoke({ tenant, name, payload, countsReads: true });
  }

  async logText(name: string): Promise<string> {
    return Buffer.from(await this.service.logs(tenant, name, 10_000_000)).toString();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#resources.disposeAsync();
  }
}

/** Node, Thaw's own runtime for it, and the handler. */
async function buildDisk(diskPath: string): Promise<Buffer> {
  await using root = await buildTestRoot({
    node: true,
    files: {
      '/srv/app.js': handlerSource,
      '/opt/bootstrap.mjs': await readFile(nodeRuntimeBootstrapPath, 'utf8'),
    },
  });
  await makeReferenceDisk(root.path, diskPath, '300M');
  return await readFile(diskPath);
}

function parsed(result: InvokeResult): Record<string, unknown> {
  return JSON.parse(Buffer.from(result.payload).toString()) as Record<string, unknown>;
}

function assertFailed(result: InvokeResult, errorType: string, words: string): void {
  assert.equal(result.functionError, 'Unhandled');
  assert.deepEqual(parsed(result), {
    errorType,
    errorMessage: `RequestId: ${result.requestId} Error: ${words}`,
  });
}

const missing = missingHere() || cannotRunSandboxes || needsPrograms('mke2fs', 'mount');

suite('a Node function in a sandbox on a mounted image', { skip: missing }, () => {
  let machine: Machine;

  before(async () => {
    machine = await Machine.start();
  });
  after(() => machine[Symbol.asyncDispose]());

  test('starts cold with all its phases and few of its chunks, then answers warm', async () => {
    await machine.create('plain');
    const cold = await machine.invoke('plain', { do: 'answer', n: 1 });
    assert.equal(cold.functionError, undefined);
    const answer = parsed(cold);
    assert.equal(answer['count'], 1);
    assert.deepEqual(answer['event'], { do: 'answer', n: 1 });
    assert.equal(answer['cwd'], '/srv');
    const env = answer['env'] as Record<string, string>;
    assert.equal(env['OWN'], 'mine');
    assert.equal(env['AWS_LAMBDA_FUNCTION_NAME'], 'plain');
    assert.equal(env['LAMBDA_TASK_ROOT'], '/srv');
    assert.equal(cold.coldStart, true);
    const { imageOpen, mount, sandbox, runtimeReady, response, total } = cold.timelineMs;
    const phases = [imageOpen, mount, sandbox, runtimeReady, response].map((ms) => ms ?? NaN);
    assert.ok(
      phases.every((ms) => ms > 0),
      JSON.stringify(cold.timelineMs),
    );
    assert.ok(phases.reduce((sum, ms) => sum + ms, 0) <= total);
    const { chunks = 0, bytes = 0 } = cold.reads ?? {};
    assert.ok(chunks > 10 && bytes > 1_000_000, JSON.stringify(cold.reads));
    const warm = await machine.invoke('plain', { do: 'answer' });
    assert.equal(warm.coldStart, false);
    assert.equal(parsed(warm)['count'], 2, 'the same process');
    assert.deepEqual(Object.keys(warm.timelineMs).sort(), ['place', 'response', 'total']);
  });

  test('is frozen after its answer, and answers again, whether or not it is frozen yet', async () => {
    await machine.create('freezes');
    await machine.invoke('freezes', { do: 'answer' });
    for (const count of [2, 3]) {
      await present(machine.freezes.at(-1), 'freeze');
      const warm = await machine.invoke('freezes', { do: 'answer' });
      assert.equal(warm.coldStart, false);
      assert.equal(parsed(warm)['count'], count);
    }
    for (const count of [4, 5, 6]) {
      assert.equal(parsed(await machine.invoke('freezes', { do: 'answer' }))['count'], count);
    }
  });

  test('logs what Lambda logs', async () => {
    await machine.create('talks');
    const { requestId } = await machine.invoke('talks', { do: 'answer' });
    const text = await machine.logText('talks');
    assert.match(text, new RegExp(`^START RequestId: ${requestId} Version: \\$LATEST\n`));
    assert.match(text, /asked to answer/);
    assert.match(
      text,
      new RegExp(`END RequestId: ${requestId}\nREPORT RequestId: ${requestId}\tDur`),
    );
  });

  test('that throws stays; that exits, crashes or swells is replaced', async () => {
    await machine.create('bad', { memoryMb: 256, timeoutSeconds: 300 });
    const thrown = await machine.invoke('bad', { do: 'throw' });
    assert.equal(thrown.functionError, 'Unhandled');
    assert.equal(parsed(thrown)['errorType'], 'TypeError');
    assert.equal(parsed(thrown)['errorMessage'], 'as told');
    const exited = await machine.invoke('bad', { do: 'exit' });
    assert.equal(exited.coldStart, false);
    assertFailed(exited, 'Runtime.ExitError', 'Runtime exited with error: exit status 3');
    const crashed = await machine.invoke('bad', { do: 'crash' });
    assert.equal(crashed.coldStart, true);
    // Of the first process in a pid namespace the kernel ignores the signal, and abort() has another way.
    assert.match(String(parsed(crashed)['errorMessage']), /signal: (aborted|segmentation fault)$/);
    const swollen = await machine.invoke('bad', { do: 'swell' });
    assertFailed(swollen, 'Runtime.ExitError', 'Runtime exited with error: signal: killed');
    assert.match(await machine.logText('bad'), /Error Type: Runtime\.OutOfMemory/);
    assert.equal((await machine.invoke('bad', { do: 'answer' })).coldStart, true);
  });

  test('that hangs is killed at its timeout', async () => {
    await machine.create('slow', { timeoutSeconds: 1 });
    const result = await machine.invoke('slow', { do: 'hang' });
    assertFailed(result, 'Sandbox.Timedout', 'Task timed out after 1.00 seconds');
    assert.equal((await machine.invoke('slow', { do: 'answer' })).coldStart, true);
  });

  test('that exits after its answer has answered, and its next invoke is cold', async () => {
    await machine.create('leaves');
    const result = await machine.invoke('leaves', { do: 'leave' });
    assert.equal(result.functionError, undefined);
    // Until Thaw has seen it go, an invoke may still be given to it, as in Lambda.
    for (;;) {
      const next = await machine.invoke('leaves', { do: 'answer' });
      if (next.coldStart) break;
    }
  });

  test('whose handler is not there gives the error of its initialisation', async () => {
    await machine.create('absent', { imageConfig: { command: ['absent.handler'] } });
    const result = await machine.invoke('absent', {});
    assert.equal(result.functionError, 'Unhandled');
    assert.equal(parsed(result)['errorType'], 'Runtime.ImportModuleError');
    assert.match(await machine.logText('absent'), /^INIT_REPORT .*Runtime\.ImportModuleError/m);
  });

  test('that floods its log leaves a log of bounded size with its end in it', async () => {
    await machine.create('floods');
    const result = await machine.invoke('floods', { do: 'flood' });
    assert.equal(Buffer.from(result.payload).toString(), '"flooded"');
    const text = await machine.logText('floods');
    assert.ok(text.length <= 2 * logFileSizeMaxBytes);
    const { requestId } = result;
    // What the log cannot take in as fast as it comes is dropped, and counted in a line.
    const end = new RegExp(
      `xxx\\n(\\[\\d+ bytes of output dropped\\]\\n)?END RequestId: ${requestId}\\nREPORT RequestId: ${requestId}\\t`,
    );
    assert.match(text.slice(-2000), end);
  });

  test('serves many at a time from one mount', async () => {
    await machine.create('many', { memoryMb: 256 });
    const events = [1, 2, 3, 4].map((n) => machine.invoke('many', { do: 'answer', n }));
    const answers = (await Promise.all(events)).map((result) => parsed(result)['event']);
    assert.deepEqual(
      answers,
      [1, 2, 3, 4].map((n) => ({ do: 'answer', n })),
    );
    const mounted = await leftInKernel(join(machine.dir, 'mounts'));
    assert.equal(mounted.length, 1);
  });

  test('leaves nothing when the service closes, and refuses from then on', async () => {
    await machine.service.close();
    assert.deepEqual(machine.warnings, []);
    assert.deepEqual(await leftInKernel(join(machine.dir, 'mounts')), []);
    assert.deepEqual(await leftInKernel(join(machine.dir, 'sandboxes')), []);
    const left = await readdir(join(machine.dir, 'sandboxes'), { recursive: true });
    assert.deepEqual(
      left.filter((path) => path.includes('fn-')),
      [],
    );
    await assert.rejects(
      machine.invoke('plain', {}),
      (thrown) => errorCode(thrown) === 'ERR_FUNCTION_STOPPED',
    );
  });
});
