/**
 * AWS's own runtime client for Go in a sandbox: streamed responses, with heads and with errors on the way, and the internal
 * extension that it registers to be told of the sandbox's end. It is compiled (under a minute), so it is kept in the temporary
 * directory by version.
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
import type { InvocationOutcome } from './runtime-api-contract.ts';
import { buildTestRoot, cannotRunSandboxes, hungBuildMs, hungMs } from '../testing/test-root.ts';

const version = 'v1.55.1';
const source = `package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type failing struct{ rest io.Reader }

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.rest.Read(p)
	if err == io.EOF {
		err = errors.New("as asked")
	}
	return n, err
}

type response = events.LambdaFunctionURLStreamingResponse

func answer(ctx context.Context, request events.LambdaFunctionURLRequest) (*response, error) {
	switch request.RawPath {
	case "/fail":
		return nil, errors.New("refused")
	case "/half":
		return &response{StatusCode: 200, Body: &failing{strings.NewReader("half")}}, nil
	}
	told, _ := lambdacontext.FromContext(ctx)
	return &response{
		StatusCode: 203,
		Headers:    map[string]string{"x-id": told.AwsRequestID},
		Cookies:    request.Cookies,
		Body:       strings.NewReader(strings.ToUpper(request.Body)),
	}, nil
}

func main() {
	lambda.StartWithOptions(answer, lambda.WithEnableSIGTERM(func() { fmt.Println("told to end") }))
}
`;
const cache = join(tmpdir(), `thaw-aws-lambda-go-${version}-${process.arch}`);
const program = join(cache, 'handler');

/** Builds it where it is not yet; says what it would need where that fails. */
async function install(): Promise<string | false> {
  if (existsSync(program)) return false;
  const found = await runCommand('go', ['version']).catch(() => undefined);
  if (found === undefined) return 'is judged by aws-lambda-go only where Go is at hand';
  const directory = await mkdtemp(`${cache}-`);
  try {
    await writeFile(join(directory, 'main.go'), source);
    await writeFile(join(directory, 'go.mod'), 'module handler\n\ngo 1.26\n');
    const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=mod' };
    const options = { timeoutMs: hungBuildMs, env };
    const go = async (...args: string[]) => runCommand('go', ['-C', directory, ...args], options);
    await go('get', `github.com/aws/aws-lambda-go@${version}`);
    await go('build', '-o', 'handler', '.');
    await rename(directory, cache);
    return false;
  } catch (thrown) {
    await rm(directory, { recursive: true, force: true });
    return `needs aws-lambda-go from the Go module proxy: ${errorMessage(thrown).slice(0, 200)}`;
  }
}

const skip = cannotRunSandboxes !== false ? cannotRunSandboxes : await install();

test('aws-lambda-go streams its responses and is told of the end', { skip }, async () => {
  await using root = await buildTestRoot({ copies: { '/var/runtime/bootstrap': program } });
  const stateDir = await mkdtemp(join(tmpdir(), 'thaw-go-'));
  const factory = await createSandboxFactory({ stateDir });
  const spec = {
    id: `go-${process.pid}`,
    rootPath: root.path,
    args: ['/var/runtime/bootstrap'],
    env: {
      AWS_LAMBDA_FUNCTION_NAME: 'f',
      AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
      _HANDLER: 'bootstrap',
    },
    workingDir: '/',
    user: 'app',
    memoryBytes: 256 * 1024 * 1024,
    tmpSizeBytes: 1024 * 1024,
    cpus: 2,
  };
  let log = '';
  await using sandbox = await factory.create(spec, (data) => (log += Buffer.from(data).toString()));
  const { runtimeApi } = sandbox;
  assert.deepEqual(await runtimeApi.ready, {}, log);
  const invoke = async (rawPath: string, streams: boolean): Promise<InvocationOutcome> => {
    await runtimeApi.settled(AbortSignal.timeout(hungMs));
    const event = { version: '2.0', rawPath, cookies: ['a=b'], body: 'said', requestContext: {} };
    const payload = Buffer.from(JSON.stringify(event));
    const plain = { requestId: 'r-1', deadlineMs: Date.now() + hungMs, functionArn: 'arn' };
    return await runtimeApi.invoke({ ...plain, payload, streams }, AbortSignal.timeout(hungMs));
  };
  for (const streams of [true, false]) {
    const outcome = await invoke('/', streams);
    assert(outcome.kind !== 'error');
    assert.equal(outcome.contentType, 'application/vnd.awslambda.http-integration-response');
    const bytes =
      outcome.kind === 'stream'
        ? Buffer.concat(await outcome.body.toArray())
        : Buffer.from(outcome.payload);
    const at = bytes.indexOf(Buffer.alloc(8));
    const head: unknown = JSON.parse(bytes.subarray(0, at).toString());
    assert.deepEqual(head, { statusCode: 203, headers: { 'x-id': 'r-1' }, cookies: ['a=b'] });
    assert.equal(bytes.subarray(at + 8).toString(), 'SAID');
  }
  const half = await invoke('/half', true);
  assert(half.kind === 'stream');
  let text = '';
  await assert.rejects(
    async () => {
      for await (const part of half.body) text += String(part);
    },
    (thrown) => {
      assert(thrown instanceof InvocationBrokenError);
      assert.match(Buffer.from(thrown.failure.payload).toString(), /as asked/);
      return true;
    },
  );
  assert.match(text, /half$/);
  const failed = await invoke('/fail', true);
  assert(failed.kind === 'error');
  assert.equal(failed.errorType, 'errorString');
  await runtimeApi.settled(AbortSignal.timeout(hungMs));
  await sandbox.shutDown('spindown');
  await sandbox[Symbol.asyncDispose]();
  await sandbox.exited;
  assert.match(log, /told to end/);
  await rm(stateDir, { recursive: true });
});
