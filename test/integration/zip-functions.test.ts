/**
 * Zip functions from end to end: AWS's SDK uploads them to `thaw serve`, which makes their runtimes of this machine's own
 * programs, and runs them in real sandboxes.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, suite, test } from 'node:test';

import { tmpdir } from 'node:os';
import type { ChildProcess } from 'node:child_process';

import {
  CreateFunctionCommand,
  DeleteFunctionCommand,
  GetFunctionConfigurationCommand,
  InvokeCommand,
  LambdaClient,
  PublishVersionCommand,
  UpdateFunctionCodeCommand,
  UpdateFunctionConfigurationCommand,
  waitUntilFunctionActiveV2,
  type CreateFunctionCommandInput,
} from '@aws-sdk/client-lambda';

import { present } from '../../src/base/index.ts';
import { linkMode, makeZip } from '../../src/archive/testing/make-zip.ts';
import { missingHere } from '../../src/device/testing/worker-fixture.ts';
import { needsPrograms } from '../support/programs.ts';
import { Thaw, leftInKernel } from '../support/thaw.ts';

const skip = missingHere() || needsPrograms('busybox');
const nodeRuntime = `nodejs${process.versions.node.split('.')[0]}.x`;

const source = `
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { value } from './lib/value.mjs';
let count = 0;
export const handler = async (event, context) => {
  count += 1;
  if (event.do !== 'look') return { count, value };
  let written = 'yes';
  try { writeFileSync('/var/task/new', ''); } catch (error) { written = error.code; }
  writeFileSync('/tmp/new', 'x');
  return {
    written,
    files: readdirSync('/var/task').toSorted(),
    linked: readFileSync('/var/task/link', 'utf8'),
    modified: statSync('/var/task/index.mjs').mtime.toISOString(),
    shell: execFileSync('sh', ['-c', 'echo $((6 * 7))']).toString(),
    ids: [process.getuid(), process.getgid()],
    cwd: process.cwd(),
    env: process.env,
    handler: context.functionName + ' ' + context.functionVersion,
  };
};
`;

function nodeZip(value: string): Buffer {
  return makeZip([
    { name: 'index.mjs', content: source, mode: 0o100600 },
    { name: 'lib/value.mjs', content: `export const value = '${value}';` },
    { name: 'link', content: 'lib/value.mjs', mode: linkMode },
  ]);
}

const bootstrap = `#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  wget -q -S -O /tmp/event "$api/next" 2>/tmp/headers
  id=$(grep -i lambda-runtime-aws-request-id /tmp/headers | tr -d '\\r' | cut -d: -f2 | tr -d ' ')
  wget -q -O /dev/null --post-data "{\\"handler\\":\\"$_HANDLER\\",\\"environment\\":\\"$AWS_EXECUTION_ENV\\"}" "$api/$id/response"
done
`;

const pythonRuntime = 'python3.11';
const hasPython = existsSync(`/usr/bin/${pythonRuntime}`);
const pythonSource = `
import importlib, logging, os, sys
def handler(event, context):
    logging.getLogger().warning('a line')
    modules = [importlib.import_module(name).__name__ for name in ('bz2', 'ctypes', 'sqlite3', 'ssl')]
    return {
        'number': event['number'] + 1,
        'text': 'ü',
        'modules': modules,
        'path': sys.path[0],
        'environment': os.environ['AWS_EXECUTION_ENV'],
        'isTimeLeft': context.get_remaining_time_in_millis() > 0,
    }
`;

/** `thaw serve` on a state directory of its own, and a client of it. */
class Server {
  readonly thaw: Thaw;
  client!: LambdaClient;
  #process!: ChildProcess;

  constructor(thaw: Thaw) {
    this.thaw = thaw;
  }

  async start(): Promise<void> {
    this.#process = this.thaw.start('serve', '--insecure-no-auth');
    const lines = createInterface(present(this.#process.stderr, 'stderr'));
    for await (const line of lines) {
      const endpoint = /api="([^"]*)"/.exec(line)?.[1];
      if (endpoint === undefined) continue;
      this.client = new LambdaClient({
        endpoint,
        region: 'local',
        credentials: { accessKeyId: 'any', secretAccessKey: 'any' },
        maxAttempts: 1,
      });
      return;
    }
    throw new Error('thaw serve ended');
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    const ended = once(this.#process, 'close');
    this.#process.stderr?.resume();
    this.#process.kill(signal);
    await ended;
    this.client.destroy();
  }

  async create(
    name: string,
    zip: Uint8Array,
    more: Partial<CreateFunctionCommandInput> = {},
  ): Promise<void> {
    await this.client.send(
      new CreateFunctionCommand({
        FunctionName: name,
        Runtime: nodeRuntime as 'nodejs24.x',
        Handler: 'index.handler',
        Role: 'arn:aws:iam::000000000000:role/any',
        Timeout: 300,
        MemorySize: 512,
        Code: { ZipFile: zip },
        ...more,
      }),
    );
    const waiting = { client: this.client, maxWaitTime: 500, minDelay: 1, maxDelay: 1 };
    await waitUntilFunctionActiveV2(waiting, { FunctionName: name });
  }

  async invoke(name: string, event: object = {}, qualifier?: string): Promise<unknown> {
    const { functionError, payload } = await this.#send(name, event, qualifier);
    assert.equal(functionError, undefined, payload);
    return JSON.parse(payload);
  }

  /** Lambda's error object. */
  async fail(name: string, event: object): Promise<unknown> {
    const { functionError, payload } = await this.#send(name, event);
    assert.equal(functionError, 'Unhandled', payload);
    return JSON.parse(payload);
  }

  async #send(name: string, event: object, qualifier?: string) {
    const { Payload, FunctionError } = await this.client.send(
      new InvokeCommand({
        FunctionName: name,
        Payload: JSON.stringify(event),
        ...(qualifier === undefined ? {} : { Qualifier: qualifier }),
      }),
    );
    return { functionError: FunctionError, payload: Buffer.from(Payload ?? []).toString() };
  }

  /** Of all functions, in the store. */
  async archivesStored(): Promise<number> {
    const all = await readdir(join(this.thaw.root, 'store'), { recursive: true });
    return all.filter((path) => /archives\/(.*\/)?[0-9a-f]{64}$/.test(path)).length;
  }

  /** Files of unpacked archives that this machine shows. */
  async unpackedFiles(): Promise<readonly string[]> {
    const code = join(this.thaw.root, 'code');
    const all = await readdir(code, { recursive: true }).catch(() => []);
    return all.filter((path) => path.endsWith('.mjs'));
  }
}

suite('zip functions', { skip }, () => {
  let server: Server;

  before(async () => {
    server = new Server(new Thaw(await mkdtemp(join(tmpdir(), 'thaw-zip-'))));
    await server.start();
  });
  after(async () => {
    const { root } = server.thaw;
    await server.stop('SIGTERM');
    assert.deepEqual(await leftInKernel(root), []);
    assert.deepEqual(await server.unpackedFiles(), []);
    await rm(root, { recursive: true, maxRetries: 50, retryDelay: 100 });
  });

  test('a Node function runs as in Lambda, on a machine that had no runtime yet', async () => {
    await server.create('node', nodeZip('one'), { Environment: { Variables: { OWN: 'set' } } });
    const { env, ...seen } = (await server.invoke('node', { do: 'look' })) as {
      readonly env: Readonly<Record<string, string>>;
    };
    assert.deepEqual(seen, {
      written: 'EROFS',
      files: ['index.mjs', 'lib', 'link'],
      linked: "export const value = 'one';",
      modified: '2025-01-01T12:00:00.000Z',
      shell: '42\n',
      ids: [993, 990],
      cwd: '/var/task',
      handler: 'node $LATEST',
    });
    const expected = {
      OWN: 'set',
      _HANDLER: 'index.handler',
      AWS_EXECUTION_ENV: `AWS_Lambda_${nodeRuntime}`,
      LAMBDA_TASK_ROOT: '/var/task',
      LAMBDA_RUNTIME_DIR: '/var/runtime',
      LANG: 'en_US.UTF-8',
      TZ: ':UTC',
      PATH: '/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin',
    };
    for (const [name, value] of Object.entries(expected)) assert.equal(env[name], value, name);
    assert.match(env['LD_LIBRARY_PATH'] ?? '', /:\/var\/task:\/var\/task\/lib:/);
    assert.match(env['NODE_PATH'] ?? '', /\/opt\/nodejs\/node_modules/);
  });

  test('a changed configuration starts the same code from nothing', async () => {
    for (const round of ['1', '2']) {
      await server.client.send(
        new UpdateFunctionConfigurationCommand({
          FunctionName: 'node',
          Environment: { Variables: { ROUND: round } },
        }),
      );
      assert.deepEqual(await server.invoke('node'), { count: 1, value: 'one' });
      // Another instance may serve the next one, while the first is not yet done with its answer.
      for (let count = 1; count === 1;) {
        ({ count } = (await server.invoke('node')) as { readonly count: number });
      }
    }
  });

  test('a version keeps its code; what no version names any longer goes from the store', async () => {
    const { client } = server;
    const before = await client.send(new GetFunctionConfigurationCommand({ FunctionName: 'node' }));
    await client.send(new PublishVersionCommand({ FunctionName: 'node' }));
    assert.equal(await server.archivesStored(), 1);
    for (const value of ['two', 'three']) {
      const ZipFile = nodeZip(value);
      const updated = await client.send(
        new UpdateFunctionCodeCommand({ FunctionName: 'node', ZipFile }),
      );
      assert.notEqual(updated.CodeSha256, before.CodeSha256);
      assert.equal(updated.CodeSize, ZipFile.byteLength);
    }
    assert.deepEqual(await server.invoke('node'), { count: 1, value: 'three' });
    assert.deepEqual(await server.invoke('node', {}, '1'), { count: 1, value: 'one' });
    assert.equal(await server.archivesStored(), 2);
    await client.send(new DeleteFunctionCommand({ FunctionName: 'node' }));
    assert.equal(await server.archivesStored(), 0);
  });

  test('an archive brings its own program for the runtime provided.al2023', async () => {
    const zip = makeZip([{ name: 'bootstrap', content: bootstrap, mode: 0o100755 }]);
    await server.create('own', zip, { Runtime: 'provided.al2023', Handler: 'any' });
    assert.deepEqual(await server.invoke('own'), { handler: 'any', environment: '' });
    assert.deepEqual(await server.invoke('own'), { handler: 'any', environment: '' });
  });

  test(
    'a Python function runs as in Lambda, and fails as in Lambda',
    { skip: hasPython ? false : `needs ${pythonRuntime}` },
    async () => {
      const zip = makeZip([
        { name: 'app/main.py', content: pythonSource },
        { name: 'broken.py', content: 'import nothing_there' },
      ]);
      const of = { Runtime: pythonRuntime as 'python3.11', Handler: 'app/main.handler' };
      await server.create('python', zip, of);
      const seen = await server.invoke('python', { number: 20 });
      assert.deepEqual(seen, {
        number: 21,
        text: 'ü',
        modules: ['bz2', 'ctypes', 'sqlite3', 'ssl'],
        path: '/var/task',
        environment: `AWS_Lambda_${pythonRuntime}`,
        isTimeLeft: true,
      });
      const failed = (await server.fail('python', { number: 'x' })) as Record<string, unknown>;
      assert.equal(failed['errorType'], 'TypeError');
      assert.match(
        String(failed['stackTrace']),
        /File "\/var\/task\/app\/main.py", line \d+, in handler/,
      );
      const change = { FunctionName: 'python', Handler: 'broken.handler' };
      await server.client.send(new UpdateFunctionConfigurationCommand(change));
      const unable = (await server.fail('python', {})) as Record<string, unknown>;
      assert.equal(unable['errorType'], 'Runtime.ImportModuleError');
      assert.match(String(unable['errorMessage']), /^Unable to import module 'broken': No module/);
    },
  );

  test('what cannot be unpacked or run is refused in the words of Lambda, and leaves nothing', async () => {
    const stored = await server.archivesStored();
    const refused: readonly (readonly [Partial<CreateFunctionCommandInput>, RegExp])[] = [
      [{ Code: { ZipFile: Buffer.from('no zip') } }, /^Could not unzip uploaded file/],
      [{ Code: { ZipFile: makeZip([{ name: '../x' }]) } }, /^Could not unzip uploaded file/],
      [{ Runtime: 'nodejs4.3' }, /at 'runtime' failed to satisfy constraint/],
      [{ Handler: undefined }, /andler/],
    ];
    for (const [more, message] of refused) {
      await assert.rejects(server.create('bad', nodeZip('x'), more), {
        name: 'InvalidParameterValueException',
        message,
      });
    }
    assert.equal(await server.archivesStored(), stored);
  });

  test('nobody acts as the tenant of the runtimes', async () => {
    const tenant = 'thaw-runtimes';
    const commands = [
      ['tenant', 'create', tenant],
      ['image', 'ls', '--tenant', tenant],
    ];
    for (const command of commands) {
      const { status, stderr } = await server.thaw.run(...command);
      assert.equal(status, 2, `${command.join(' ')}: ${stderr}`);
    }
    const inspected = await server.thaw.run('image', 'inspect', nodeRuntime);
    assert.equal(inspected.status, 3, 'and other tenants do not see their images');
    const runtimes = await server.thaw.json<{ name: string; image?: object }[]>('runtime', 'ls');
    assert.deepEqual(
      runtimes.filter(({ image }) => image !== undefined).map(({ name }) => name),
      [nodeRuntime, 'provided.al2023', ...(hasPython ? [pythonRuntime] : [])],
    );
  });

  test('dropping the caches ends what is idle, and what was unpacked for it goes', async () => {
    await server.create('idle', nodeZip('idle'));
    await server.invoke('idle');
    assert.notEqual((await server.unpackedFiles()).length, 0);
    assert.equal((await server.thaw.run('cache', 'drop')).status, 0);
    while ((await server.unpackedFiles()).length > 0) await new Promise(setImmediate);
    assert.deepEqual(await server.invoke('idle'), { count: 1, value: 'idle' });
    await server.client.send(new DeleteFunctionCommand({ FunctionName: 'idle' }));
    while ((await server.unpackedFiles()).length > 0) await new Promise(setImmediate);
  });

  test('a server that was killed leaves functions that run, and nothing else that the next one keeps', async () => {
    await server.create('kept', nodeZip('kept'));
    await server.invoke('kept');
    assert.equal((await server.unpackedFiles()).length, 2);
    await server.stop('SIGKILL');
    await server.start();
    assert.deepEqual(await server.invoke('kept'), { count: 1, value: 'kept' });
    const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n');
    const ours = mounts.filter((line) => line.includes(server.thaw.root));
    assert.equal(ours.filter((line) => line.startsWith('thaw-code')).length, 1);
    assert.equal((await server.unpackedFiles()).length, 2);
  });
});
