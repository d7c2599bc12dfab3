/**
 * AWS's own Node runtime client runs handlers unchanged in a sandbox, streaming ones too. It compiles when it is
 * installed (about a minute), so it is kept in the temporary directory by version.
 */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { errorMessage, runCommand } from '../../base/index.ts';
import { InvocationBrokenError } from '../errors.ts';
import { createSandboxFactory } from '../factory.ts';
import { probeSandboxRuntimes } from '../launchers/probe.ts';
import type { Invocation, InvocationOutcome } from './runtime-api-contract.ts';
import {
  buildTestRoot,
  cannotRunSandboxes,
  hungBuildMs,
  hungMs,
  nodeInRoot,
} from '../testing/test-root.ts';

const version = '4.0.2';
const cache = join(tmpdir(), `thaw-aws-lambda-ric-${version}-${process.arch}`);
const nativePart = 'node_modules/aws-lambda-ric/rapid-client.node';

/** Installs it where it is not yet; says what it would need where that fails. */
async function install(): Promise<string | false> {
  if (existsSync(join(cache, nativePart))) return false;
  for (const program of ['npm', 'cmake', 'make', 'g++', 'python3']) {
    const found = await runCommand('sh', ['-c', `command -v ${program}`]).catch(() => undefined);
    if (found === undefined) return `needs ${program}, to compile aws-lambda-ric`;
  }
  const directory = await mkdtemp(`${cache}-`);
  try {
    const args = ['install', '--prefix', directory, '--no-audit', '--no-fund'];
    await writeFile(join(directory, 'package.json'), '{"private":true}');
    await runCommand('npm', [...args, `aws-lambda-ric@${version}`], {
      timeoutMs: hungBuildMs,
    });
    if (!existsSync(join(directory, nativePart))) return 'needs npm that runs install scripts';
    await rename(directory, cache);
    return false;
  } catch (thrown) {
    await rm(directory, { recursive: true, force: true });
    return `needs aws-lambda-ric from the npm registry: ${errorMessage(thrown).slice(0, 200)}`;
  }
}

const runtime = (await probeSandboxRuntimes()).find((probe) => probe.usable)?.runtime;
const skip = cannotRunSandboxes !== false ? cannotRunSandboxes : await install();

const handlers = `
export const handler = async (event, context) => {
  if (event.fail) throw new RangeError('as asked');
  return { event, id: context.awsRequestId, arn: context.invokedFunctionArn, left: context.getRemainingTimeInMillis() > 0 };
};
export const streaming = awslambda.streamifyResponse(async (event, stream) => {
  const http = awslambda.HttpResponseStream.from(stream, { statusCode: 203 });
  http.write('one ');
  http.write('two');
  if (event.fail) throw new RangeError('as asked');
  http.end();
  await new Promise((resolve) => http.once('finish', resolve));
});
`;

/** A sandbox in which AWS's client serves `handler`, and a way to invoke it that ends with the sandbox. */
async function serve(
  handler: string,
  work: (
    invoke: (event: object, more?: Partial<Invocation>) => Promise<InvocationOutcome>,
  ) => Promise<void>,
): Promise<void> {
  await using root = await buildTestRoot({
    node: true,
    programs: [join(cache, nativePart)],
    files: { '/var/task/app.mjs': handlers },
    copies: { '/opt/ric/node_modules': join(cache, 'node_modules') },
  });
  const stateDir = await mkdtemp(join(tmpdir(), 'thaw-ric-'));
  const factory = await createSandboxFactory({ stateDir, runtime: runtime ?? 'auto' });
  const spec = {
    id: `ric-${process.pid}`,
    rootPath: root.path,
    args: [nodeInRoot, '/opt/ric/node_modules/aws-lambda-ric/index.mjs', handler],
    env: {
      _HANDLER: handler,
      LAMBDA_TASK_ROOT: '/var/task',
      AWS_LAMBDA_FUNCTION_NAME: 'f',
      AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
      AWS_LAMBDA_LOG_GROUP_NAME: '/aws/lambda/f',
      AWS_LAMBDA_LOG_STREAM_NAME: 'stream',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '512',
    },
    workingDir: '/var/task',
    user: '1000:1000',
    memoryBytes: 512 * 1024 * 1024,
    tmpSizeBytes: 1024 * 1024,
    cpus: 2,
  };
  let log = '';
  {
    await using sandbox = await factory.create(
      spec,
      (data) => (log += Buffer.from(data).toString()),
    );
    const ended = sandbox.exited.then((exit) => assert.fail(`${JSON.stringify(exit)} ${log}`));
    ended.catch(() => {}); // it ends when all is done, too
    const { runtimeApi } = sandbox;
    assert.deepEqual(await Promise.race([runtimeApi.ready, ended]), {});
    await work(async (event, more = {}) => {
      await Promise.race([runtimeApi.settled(), ended]);
      const payload = Buffer.from(JSON.stringify(event));
      const plain = { requestId: 'r', deadlineMs: Date.now() + hungMs, functionArn: 'arn:f' };
      const invocation = { ...plain, payload, ...more };
      const outcome = runtimeApi.invoke(invocation, AbortSignal.timeout(hungMs));
      return await Promise.race([outcome, ended]);
    });
  }
  await rm(stateDir, { recursive: true });
}

function valueOf(outcome: InvocationOutcome): Record<string, unknown> {
  assert(outcome.kind !== 'stream');
  return JSON.parse(Buffer.from(outcome.payload).toString()) as Record<string, unknown>;
}

test('aws-lambda-ric serves a handler unchanged, cold, warm and failing', { skip }, async () => {
  await serve('app.handler', async (invoke) => {
    for (const requestId of ['cold', 'warm']) {
      const outcome = await invoke({ a: 'ü' }, { requestId });
      const value = { event: { a: 'ü' }, id: requestId, arn: 'arn:f', left: true };
      assert.deepEqual([outcome.kind, valueOf(outcome)], ['response', value]);
    }
    const failed = await invoke({ fail: true });
    const { errorType, errorMessage } = valueOf(failed);
    assert.deepEqual([failed.kind, errorType, errorMessage], ['error', 'RangeError', 'as asked']);
    assert.equal((await invoke({})).kind, 'response');
  });
});

test('aws-lambda-ric streams a response, and an error after a part of it', { skip }, async () => {
  await serve('app.streaming', async (invoke) => {
    const body = `{"statusCode":203}${'\0'.repeat(8)}one two`;
    const whole = await invoke({}, { streams: true });
    assert(whole.kind === 'stream');
    assert.equal(whole.contentType, 'application/vnd.awslambda.http-integration-response');
    assert.equal(Buffer.concat(await whole.body.toArray()).toString(), body);
    const broken = await invoke({ fail: true }, { streams: true });
    assert(broken.kind === 'stream');
    let text = '';
    await assert.rejects(
      async () => {
        for await (const part of broken.body) text += String(part);
      },
      (thrown) =>
        thrown instanceof InvocationBrokenError && thrown.failure.errorType === 'RangeError',
    );
    assert.equal(text, body);
    const gathered = await invoke({});
    assert(gathered.kind === 'response');
    assert.equal(Buffer.from(gathered.payload).toString(), body);
  });
});
