/**
 * AWS's own Lambda Web Adapter works in a sandbox as it does in Lambda: an extension that also asks for the invocations, and turns
 * them into requests to an ordinary web server. It is built from crates.io (about two minutes), so it is kept in the temporary
 * directory by version.
 */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { errorMessage, programPath, runCommand } from '../../base/index.ts';
import { createSandboxFactory } from '../factory.ts';
import type { InvocationOutcome } from './runtime-api-contract.ts';
import type { Sandbox } from '../sandbox.ts';
import {
  buildTestRoot,
  cannotRunSandboxes,
  hungBuildMs,
  hungMs,
  nodeInRoot,
} from '../testing/test-root.ts';

const version = '0.9.1';
const cache = join(tmpdir(), `thaw-lambda-web-adapter-${version}-${process.arch}`);
const program = join(cache, 'bin/lambda-adapter');

/** Builds it where it is not yet; says what it would need where that fails. */
async function install(): Promise<string | false> {
  if (existsSync(program)) return false;
  const cargo = programPath('cargo');
  if (cargo === undefined) return 'needs cargo-web, to build the Lambda Web Adapter';
  const directory = await mkdtemp(`${cache}-`);
  try {
    const args = [
      'install',
      'lambda_web_adapter',
      '--version',
      version,
      '--locked',
      '--root',
      directory,
    ];
    const quick = { LTO: 'false', CODEGEN_UNITS: '256', OPT_LEVEL: '0', PANIC: 'unwind' };
    const profile = Object.entries(quick).map(([key, value]) => [
      `CARGO_PROFILE_RELEASE_${key}`,
      value,
    ]);
    const env = {
      ...process.env,
      CARGO_TARGET_DIR: join(directory, 'target'),
      CARGO_NET_RETRY: '10', // it fetches 200 crates
      ...Object.fromEntries(profile),
    };
    await runCommand(cargo, args, { timeoutMs: hungBuildMs, env });
    await rm(join(directory, 'target'), { recursive: true, force: true });
    await rename(directory, cache);
    return false;
  } catch (thrown) {
    await rm(directory, { recursive: true, force: true });
    return `needs lambda_web_adapter from crates.io: ${errorMessage(thrown).slice(0, 200)}`;
  }
}

const server = `
require('node:http').createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const { method, url, headers } = request;
    if (url.startsWith('/stream')) {
      response.writeHead(203, { 'x-kind': 'stream' }).write('one ');
      return setTimeout(() => response.end('two'), 20);
    }
    response.setHeader('Content-Type', 'application/json');
    response.setHeader('Set-Cookie', ['a=b', 'c=d']);
    response.end(JSON.stringify({ method, url, headers, body: Buffer.concat(parts).toString() }));
  });
}).listen(8080, '127.0.0.1');
`;

const skip = cannotRunSandboxes !== false ? cannotRunSandboxes : await install();

function eventOf(path: string): object {
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: path,
    rawQueryString: 'a=b',
    cookies: ['k=v'],
    headers: { 'content-type': 'text/plain', 'x-custom': 'yes', host: 'site.example' },
    requestContext: {
      accountId: '123456789012',
      apiId: 'id',
      domainName: 'site.example',
      domainPrefix: 'site',
      http: { method: 'POST', path, protocol: 'HTTP/1.1', sourceIp: '203.0.113.9', userAgent: 'x' },
      requestId: 'r',
      routeKey: '$default',
      stage: '$default',
      time: '12/Mar/2020:19:03:58 +0000',
      timeEpoch: 1_584_039_838_390,
    },
    body: 'hello',
    isBase64Encoded: false,
  };
}

async function invoke(
  sandbox: Sandbox,
  path: string,
  streams: boolean,
): Promise<InvocationOutcome> {
  const invocation = {
    requestId: '8476a536-e9f4-11e8-9739-2dfe598c3fcd',
    payload: Buffer.from(JSON.stringify(eventOf(path))),
    deadlineMs: Date.now() + hungMs,
    functionArn: 'arn:aws:lambda:us-east-1:123456789012:function:site',
    streams,
  };
  return await sandbox.runtimeApi.invoke(invocation, AbortSignal.timeout(hungMs));
}

test(
  'the Lambda Web Adapter serves a web server that knows nothing of Lambda',
  { skip },
  async () => {
    await using root = await buildTestRoot({
      node: true,
      programs: [program],
      files: { '/srv/server.js': server },
      copies: { '/opt/extensions/lambda-adapter': program },
    });
    const stateDir = await mkdtemp(join(tmpdir(), 'thaw-adapter-'));
    const factory = await createSandboxFactory({ stateDir });
    const start = async (env: Record<string, string>): Promise<Sandbox> => {
      const spec = {
        id: `adapter-${process.pid}`,
        rootPath: root.path,
        args: [nodeInRoot, '/srv/server.js'],
        env: {
          AWS_LAMBDA_FUNCTION_NAME: 'site',
          AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
          AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '512',
          ...env,
        },
        workingDir: '/srv',
        user: '1000:1000',
        memoryBytes: 512 * 1024 * 1024,
        tmpSizeBytes: 1024 * 1024,
        cpus: 2,
      };
      const sandbox = await factory.create(spec, (data) => void data);
      assert.deepEqual(await sandbox.runtimeApi.ready, {});
      return sandbox;
    };
    {
      await using sandbox = await start({});
      for (const path of ['/cold', '/warm']) {
        const outcome = await invoke(sandbox, path, false);
        assert(outcome.kind === 'response');
        const result = JSON.parse(Buffer.from(outcome.payload).toString()) as Record<
          string,
          unknown
        >;
        assert.equal(result['statusCode'], 200);
        assert.deepEqual(result['cookies'], ['a=b', 'c=d']);
        const { method, url, headers, body } = JSON.parse(String(result['body'])) as {
          method: string;
          url: string;
          headers: Record<string, string>;
          body: string;
        };
        assert.deepEqual([method, url, body], ['POST', `${path}?a=b`, 'hello']);
        assert.equal(headers['x-custom'], 'yes');
        assert.match(
          headers['x-amzn-lambda-context'] ?? '',
          /8476a536-e9f4-11e8-9739-2dfe598c3fcd/,
        );
        await sandbox.runtimeApi.settled(AbortSignal.timeout(hungMs));
        await sandbox.freeze();
        await sandbox.thaw();
      }
      await sandbox.shutDown('spindown');
    }
    await using streaming = await start({ AWS_LWA_INVOKE_MODE: 'response_stream' });
    const outcome = await invoke(streaming, '/stream', true);
    assert(outcome.kind === 'stream');
    assert.equal(outcome.contentType, 'application/vnd.awslambda.http-integration-response');
    const bytes = Buffer.concat(await outcome.body.toArray());
    const at = bytes.indexOf(Buffer.alloc(8));
    const prelude = JSON.parse(bytes.subarray(0, at).toString()) as Record<string, unknown>;
    assert.equal(prelude['statusCode'], 203);
    assert.equal(bytes.subarray(at + 8).toString(), 'one two');
    await streaming.shutDown('spindown');
    await streaming[Symbol.asyncDispose]();
    await rm(stateDir, { recursive: true });
  },
);
