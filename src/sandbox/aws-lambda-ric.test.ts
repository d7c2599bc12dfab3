/**
 * AWS's own Node runtime client runs handlers unchanged in a sandbox. It compiles when it is
 * installed (about a minute), so it is kept in the temporary directory by version.
 */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { errorMessage, runCommand } from '../base/index.ts';
import { createSandboxFactory } from './factory.ts';
import { probeSandboxRuntimes } from './probe.ts';
import { buildTestRoot, cannotRunSandboxes, nodeInRoot } from './testing/test-root.ts';

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
    await runCommand('npm', [...args, `aws-lambda-ric@${version}`], { timeoutMs: 300_000 });
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

test(
  'aws-lambda-ric serves a handler unchanged, cold, warm and failing',
  { skip, timeout: 120_000 },
  async () => {
    await using root = await buildTestRoot({
      node: true,
      programs: [join(cache, nativePart)],
      files: {
        '/var/task/app.mjs': `export const handler = async (event, context) => {
        if (event.fail) throw new RangeError('as asked');
        return { event, id: context.awsRequestId, arn: context.invokedFunctionArn, left: context.getRemainingTimeInMillis() > 0 };
      };`,
      },
      copies: { '/opt/ric/node_modules': join(cache, 'node_modules') },
    });
    const stateDir = await mkdtemp(join(tmpdir(), 'thaw-ric-'));
    const factory = await createSandboxFactory({ stateDir, runtime: runtime ?? 'auto' });
    let log = '';
    {
      await using sandbox = await factory.create(
        {
          id: `ric-${process.pid}`,
          rootPath: root.path,
          args: [nodeInRoot, '/opt/ric/node_modules/aws-lambda-ric/index.mjs', 'app.handler'],
          env: {
            _HANDLER: 'app.handler',
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
        },
        (data) => (log += Buffer.from(data).toString()),
      );
      const ended = sandbox.exited.then((exit) => assert.fail(`${JSON.stringify(exit)} ${log}`));
      ended.catch(() => {}); // it ends when all is done, too
      assert.deepEqual(await Promise.race([sandbox.runtimeApi.ready, ended]), {});
      const invoke = async (requestId: string, event: object) => {
        const payload = Buffer.from(JSON.stringify(event));
        const deadlineMs = Date.now() + 30_000;
        const outcome = sandbox.runtimeApi.invoke(
          { requestId, payload, deadlineMs, functionArn: 'arn:f' },
          AbortSignal.timeout(30_000),
        );
        const answered = await Promise.race([outcome, ended]);
        assert(answered.kind !== 'stream');
        const { payload: answer, ...rest } = answered;
        return {
          ...rest,
          value: JSON.parse(Buffer.from(answer).toString()) as Record<string, unknown>,
        };
      };
      for (const id of ['cold', 'warm']) {
        const { kind, value } = await invoke(id, { a: 'ü' });
        assert.deepEqual(
          [kind, value],
          ['response', { event: { a: 'ü' }, id, arn: 'arn:f', left: true }],
        );
      }
      const failed = await invoke('failing', { fail: true });
      assert(failed.kind === 'error');
      assert.deepEqual(
        [failed.value['errorType'], failed.value['errorMessage']],
        ['RangeError', 'as asked'],
      );
      assert.equal((await invoke('again', {})).kind, 'response');
    }
    await rm(stateDir, { recursive: true });
  },
);
