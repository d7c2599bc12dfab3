/**
 * Lambda's API as AWS's own tools use it, on real sandboxes: signed by access keys of tenants, through the SDK, the AWS CLI and
 * the calls of the seed's benchmarker, none of which know that it is not Lambda.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { get } from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { suite, test } from 'node:test';

import * as sdk from '@aws-sdk/client-lambda';
import { LambdaServiceException, type LambdaClient } from '@aws-sdk/client-lambda';

import { makeZip } from '../../src/archive/testing/make-zip.ts';
import { exitStatuses } from '../../src/cli/exit-status.ts';
import { missingHere } from '../../src/device/testing/worker-fixture.ts';
import { makeCertificate } from '../support/certificate.ts';
import { needsPrograms } from '../support/programs.ts';
import { registryMissing, startRegistry } from '../support/registry.ts';
import { accessKeyOf, serveApiOf, type AccessKey } from '../support/served-api.ts';
import { echoScript, writeShellImage } from '../support/shell-image.ts';
import { endOf, leftInKernel, thawFor, type Thaw } from '../support/thaw.ts';

/** By its path: other versions of the command, found before it, take other options. */
const debianAws = '/usr/bin/aws';
const skip = missingHere() || needsPrograms('busybox');
const nodeRuntime = `nodejs${process.versions.node.split('.')[0]}.x` as sdk.Runtime;
const Role = 'arn:aws:iam::000000000000:role/any';

/** Streams as many bytes as it is told to, fails at the end where it is told to, and stops when nobody listens. */
const streamingSource = `
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const { bytes, fails } = event.body === undefined ? event : JSON.parse(event.body);
  const out = awslambda.HttpResponseStream.from(stream, { statusCode: 203, headers: { 'x-own': 'yes' } });
  const part = Buffer.alloc(65536, 'x');
  for (let sent = 0; sent < bytes; sent += part.length) {
    if (!out.write(part)) await new Promise((resolve) => out.once('drain', resolve));
  }
  if (fails) throw new RangeError('as told');
  out.end();
});
`;

/** Answers with what the environment holds, so that a caller can tell one start from another. */
const environmentScript = echoScript.replace(
  /wget -q -O \/dev\/null --post-file.*/,
  `wget -q -O /dev/null --post-data "{\\"cold\\":\\"$setColdStart\\",\\"starts\\":$((starts += 1))}" $url/$id/response`,
);

const webScript = `
mkdir -p /tmp/www/sub
echo home > /tmp/www/index.html
echo "$GREETING" > /tmp/www/sub/page.txt
exec /bin/busybox httpd -f -p $PORT -h /tmp/www
`;

async function publish(
  thaw: Thaw,
  name: string,
  script: string,
  ...flags: string[]
): Promise<void> {
  const image = await writeShellImage(join(thaw.root, 'layout'), name, script);
  await thaw.json('image', 'convert', image, '--name', name, ...flags);
}

function awsEnvironment(url: string, key: AccessKey): NodeJS.ProcessEnv {
  return {
    ...process.env,
    AWS_ENDPOINT_URL: url,
    AWS_REGION: 'local',
    AWS_ACCESS_KEY_ID: key.accessKeyId,
    AWS_SECRET_ACCESS_KEY: key.secretAccessKey,
    AWS_EC2_METADATA_DISABLED: 'true',
  };
}

async function create(client: LambdaClient, name: string, more: object = {}): Promise<void> {
  const code = { PackageType: 'Image', Code: { ImageUri: name } } as const;
  const named = { FunctionName: name, Role, Timeout: 300 };
  await client.send(new sdk.CreateFunctionCommand({ ...named, ...code, ...more }));
  await sdk.waitUntilFunctionActiveV2(
    { client, maxWaitTime: 500, minDelay: 1 },
    { FunctionName: name },
  );
}

async function refusal(call: Promise<unknown>): Promise<readonly unknown[]> {
  const thrown: unknown = await call.then(
    () => assert.fail('it was let through'),
    (error) => error,
  );
  assert.ok(thrown instanceof LambdaServiceException, String(thrown));
  return [thrown.name, thrown.$metadata.httpStatusCode];
}

const textOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

suite("Lambda's API on real sandboxes", { skip }, () => {
  test('the SDK forces cold starts as the benchmarker does, each with the new environment', async (t) => {
    const thaw = await thawFor(t);
    await publish(thaw, 'cold', environmentScript);
    const key = await accessKeyOf(thaw, 'default');
    await using api = await serveApiOf(thaw);
    const { url } = api;
    const client = api.clientOf(key);
    await create(client, 'cold');
    for (let times = 0; times < 3; times += 1) {
      const program = join(import.meta.dirname, '../support/force-cold-starts.ts');
      const env = { ...awsEnvironment(url, key), FUNCTION_NAMES: 'cold' };
      const run = await endOf(spawn(process.execPath, [program], { env }));
      assert.equal(run.status, 0, run.stderr);
      const { setColdStart, payload } = JSON.parse(run.stdout) as Record<string, string>;
      assert.deepEqual(JSON.parse(payload ?? ''), { cold: setColdStart, starts: 1 });
    }
    // An instance that has answered and not yet asked for more is not given more: another one starts.
    const invoke = new sdk.InvokeCommand({ FunctionName: 'cold', LogType: 'Tail' });
    let warm = await client.send(invoke);
    while (textOf(warm.Payload).includes('"starts":1')) warm = await client.send(invoke);
    assert.match(textOf(warm.Payload), /"starts":\d/);
    assert.doesNotMatch(Buffer.from(warm.LogResult ?? '', 'base64').toString(), /Init Duration/);
    await client.send(new sdk.DeleteFunctionCommand({ FunctionName: 'cold' }));
    assert.equal((await api.stop()).status, 0);
    assert.deepEqual(await leftInKernel(thaw.root), []);
  });

  test(
    'an image of a registry is Pending, then Active, and Failed where there is none',
    { skip: registryMissing },
    async (t) => {
      const thaw = await thawFor(t);
      await using registry = await startRegistry();
      const image = await writeShellImage(join(thaw.root, 'layout'), 'echo', echoScript);
      await registry.push(image, 'echo:1');
      const key = await accessKeyOf(thaw, 'default');
      await using api = await serveApiOf(thaw);
      const client = api.clientOf(key);
      const createFrom = (FunctionName: string, ImageUri: string) =>
        client.send(
          new sdk.CreateFunctionCommand({
            FunctionName,
            PackageType: 'Image',
            Code: { ImageUri },
            Role,
          }),
        );
      const created = await createFrom('echo', `${registry.host}/echo:1`);
      assert.deepEqual([created.State, created.StateReasonCode], ['Pending', 'Creating']);
      const waiting = { client, maxWaitTime: 500, minDelay: 1 };
      await sdk.waitUntilFunctionActiveV2(waiting, { FunctionName: 'echo' });
      const invoke = new sdk.InvokeCommand({ FunctionName: 'echo', Payload: '[1]' });
      assert.equal(textOf((await client.send(invoke)).Payload), '[1]');
      await createFrom('none', `${registry.host}/none:1`);
      await assert.rejects(sdk.waitUntilFunctionActiveV2(waiting, { FunctionName: 'none' }));
      const { Configuration } = await client.send(
        new sdk.GetFunctionCommand({ FunctionName: 'none' }),
      );
      assert.equal(Configuration?.State, 'Failed');
      const invokeFailed = new sdk.InvokeCommand({ FunctionName: 'none' });
      assert.deepEqual(await refusal(client.send(invokeFailed)), [
        'ResourceConflictException',
        409,
      ]);
    },
  );

  test('tenants see their own functions only, by keys that open until they are removed', async (t) => {
    const thaw = await thawFor(t);
    await publish(thaw, 'echo', echoScript);
    await thaw.json('tenant', 'create', 'other');
    await publish(thaw, 'echo', echoScript, '--tenant', 'other');
    const [ofDefault, ofOther] = [
      await accessKeyOf(thaw, 'default'),
      await accessKeyOf(thaw, 'other'),
    ];
    await using api = await serveApiOf(thaw);
    const [mine, theirs] = [api.clientOf(ofDefault), api.clientOf(ofOther)];
    await create(mine, 'echo');
    const found = await mine.send(new sdk.GetFunctionCommand({ FunctionName: 'echo' }));
    const arn = found.Configuration?.FunctionArn ?? '';
    const get = (client: LambdaClient, FunctionName: string) =>
      client.send(new sdk.GetFunctionCommand({ FunctionName }));
    assert.deepEqual((await theirs.send(new sdk.ListFunctionsCommand({}))).Functions, []);
    assert.deepEqual(await refusal(get(theirs, 'echo')), ['ResourceNotFoundException', 404]);
    assert.deepEqual(await refusal(get(theirs, arn)), ['AccessDeniedException', 403]);
    assert.deepEqual(await refusal(theirs.send(new sdk.InvokeCommand({ FunctionName: arn }))), [
      'AccessDeniedException',
      403,
    ]);
    await create(theirs, 'echo');
    const own = await get(theirs, 'echo');
    assert.notEqual(own.Configuration?.FunctionArn, arn);

    const wrongSecret = api.clientOf({ ...ofDefault, secretAccessKey: ofOther.secretAccessKey });
    assert.deepEqual(await refusal(get(wrongSecret, 'echo')), ['InvalidSignatureException', 403]);
    const late = api.clientOf(ofDefault, { systemClockOffset: -10 * 60_000 });
    assert.deepEqual(await refusal(get(late, 'echo')), ['InvalidSignatureException', 403]);
    const elsewhere = api.clientOf(ofDefault, { region: 'eu-west-1' });
    assert.deepEqual(await refusal(get(elsewhere, 'echo')), ['InvalidSignatureException', 403]);
    const unsigned = await fetch(`${api.url}/2015-03-31/functions/echo`);
    assert.deepEqual(
      [unsigned.status, unsigned.headers.get('x-amzn-errortype')],
      [403, 'MissingAuthenticationTokenException'],
    );
    await thaw.json('tenant', 'key', 'rm', 'other', ofOther.accessKeyId);
    assert.deepEqual(await refusal(get(theirs, 'echo')), ['UnrecognizedClientException', 403]);
    await get(mine, 'echo');
  });

  test('a web server answers at its function URL', async (t) => {
    const thaw = await thawFor(t);
    await publish(thaw, 'web', webScript);
    const key = await accessKeyOf(thaw, 'default');
    await using api = await serveApiOf(thaw);
    const client = api.clientOf(key);
    await create(client, 'web', {
      Timeout: 300,
      Environment: { Variables: { GREETING: 'hello' } },
      Tags: { 'thaw:web-port': '8080', 'thaw:web-ready-path': '/' },
    });
    const FunctionName = 'web';
    const { FunctionUrl = '' } = await client.send(
      new sdk.CreateFunctionUrlConfigCommand({ FunctionName, AuthType: 'NONE' }),
    );
    const home = await fetch(FunctionUrl);
    assert.deepEqual([home.status, await home.text()], [200, 'home\n']);
    const page = await fetch(`${FunctionUrl}sub/page.txt?any=1`);
    assert.deepEqual([page.status, await page.text()], [200, 'hello\n']);
    assert.equal((await fetch(`${FunctionUrl}missing`)).status, 404);
    await client.send(
      new sdk.UpdateFunctionUrlConfigCommand({ FunctionName, AuthType: 'AWS_IAM' }),
    );
    assert.equal((await fetch(FunctionUrl)).status, 403);
  });

  test('a stream is longer than what is taken whole, breaks where the function does, and may be left', async (t) => {
    const thaw = await thawFor(t);
    const key = await accessKeyOf(thaw, 'default');
    await using api = await serveApiOf(thaw);
    const client = api.clientOf(key);
    const FunctionName = 'stream';
    const ZipFile = makeZip([{ name: 'index.mjs', content: streamingSource }]);
    const code = {
      Runtime: nodeRuntime,
      Handler: 'index.handler',
      Code: { ZipFile },
      Timeout: 300,
    } as const;
    await client.send(new sdk.CreateFunctionCommand({ FunctionName, ...code, Role }));
    await sdk.waitUntilFunctionActiveV2(
      { client, maxWaitTime: 500, minDelay: 1 },
      { FunctionName },
    );
    const { Code } = await client.send(new sdk.GetFunctionCommand({ FunctionName }));
    const downloaded = await fetch(Code?.Location ?? '');
    assert.equal(downloaded.headers.get('content-type'), 'application/zip');
    assert.deepEqual(Buffer.from(await downloaded.arrayBuffer()), ZipFile);
    const changed = await fetch(`${Code?.Location}x`);
    assert.equal(changed.status, 403);
    const { FunctionUrl = '' } = await client.send(
      new sdk.CreateFunctionUrlConfigCommand({
        FunctionName,
        AuthType: 'NONE',
        InvokeMode: 'RESPONSE_STREAM',
      }),
    );
    const ask = (request: object) =>
      fetch(FunctionUrl, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(request),
      });
    const bytes = 10 * 2 ** 20;
    const whole = await ask({ bytes });
    assert.deepEqual([whole.status, whole.headers.get('x-own')], [203, 'yes']);
    assert.equal((await whole.arrayBuffer()).byteLength, bytes);
    const broken = await ask({ bytes: 2 ** 20, fails: true });
    await assert.rejects(broken.arrayBuffer());

    const stream = async (request: object) => {
      const command = new sdk.InvokeWithResponseStreamCommand({
        FunctionName,
        Payload: JSON.stringify(request),
      });
      const { EventStream } = await client.send(command);
      return EventStream ?? assert.fail('there is no stream');
    };
    let sizeBytes = 0;
    let end: sdk.InvokeWithResponseStreamCompleteEvent | undefined;
    for await (const { PayloadChunk, InvokeComplete } of await stream({
      bytes: 2 ** 20,
      fails: true,
    })) {
      sizeBytes += PayloadChunk?.Payload?.byteLength ?? 0;
      end = InvokeComplete;
    }
    assert.ok(sizeBytes > 2 ** 20, 'the head and the bytes');
    assert.equal(end?.ErrorCode, 'Unhandled');
    assert.match(end?.ErrorDetails ?? '', /RangeError/);

    const buffered = { FunctionName, InvokeMode: 'BUFFERED' } as const;
    await client.send(new sdk.UpdateFunctionUrlConfigCommand(buffered));
    const taken = await ask({ bytes: 2 ** 20 });
    assert.deepEqual([taken.status, taken.headers.get('x-own')], [203, 'yes']);
    assert.equal((await taken.arrayBuffer()).byteLength, 2 ** 20);
    assert.equal((await ask({ bytes })).status, 502, 'too long to be taken whole');

    const reserve = { FunctionName, ReservedConcurrentExecutions: 1 };
    await client.send(new sdk.PutFunctionConcurrencyCommand(reserve));
    await client.send(
      new sdk.UpdateFunctionUrlConfigCommand({ FunctionName, InvokeMode: 'RESPONSE_STREAM' }),
    );
    const left = await ask({ bytes: 2 ** 40 });
    await left.body?.cancel();
    // The instance that served it is no more, or free again: either way there is room for this one.
    for (;;) {
      const next = await ask({ bytes: 0 });
      if (next.status === 203) break;
      assert.equal(next.status, 429);
    }
  });

  test(
    'it speaks TLS by the certificate of the configuration, and says what is in the way of listening',
    { skip: needsPrograms('openssl') },
    async (t) => {
      const thaw = await thawFor(t);
      const { certificate, certificatePath } = await makeCertificate(thaw.root);
      const config = join(thaw.root, 'config.toml');
      const keyPath = join(thaw.root, 'key.pem');
      await writeFile(config, `[api]\ncert_file = "${certificatePath}"\nkey_file = "${keyPath}"\n`);
      await using api = await serveApiOf(thaw, '--config', config);
      const request = get(new URL('/health', api.url), { ca: certificate });
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      assert.deepEqual([response.statusCode, await text(response)], [200, 'ok\n']);
      const other = await thawFor(t);
      const taken = await other.run('serve', '--listen', new URL(api.url).host);
      assert.equal(taken.status, exitStatuses.environment.status);
      assert.match(taken.stderr, /EADDRINUSE.*change "api.listen", or give --listen/);
    },
  );

  test('without authentication whoever is on this machine is the default tenant', async (t) => {
    const thaw = await thawFor(t);
    const open = await thaw.run('serve', '--listen', '0.0.0.0:0', '--insecure-no-auth');
    assert.equal(open.status, exitStatuses.usage.status);
    assert.match(open.stderr, /--insecure-no-auth needs an address of this machine alone/);
    await using api = await serveApiOf(thaw, '--insecure-no-auth');
    const list = async (headers: Record<string, string> = {}) =>
      (await fetch(`${api.url}/2015-03-31/functions/`, { headers })).status;
    assert.equal(await list(), 200);
    assert.equal(await list({ origin: 'http://evil.example' }), 403);
  });
});

suite(
  "Lambda's API by the AWS CLI",
  { skip: skip || (!existsSync(debianAws) && "needs Debian's awscli") },
  () => {
    test('a function is created, changed, invoked, listed and deleted', async (t) => {
      const thaw = await thawFor(t);
      await publish(thaw, 'echo', echoScript);
      const key = await accessKeyOf(thaw, 'default');
      await using api = await serveApiOf(thaw);
      const aws = awsOf(awsEnvironment(api.url, key));
      const of = ['--function-name', 'echo'];
      const image = ['--package-type', 'Image', '--code', 'ImageUri=echo'];
      const created = await aws(
        'create-function',
        ...of,
        ...image,
        '--role',
        Role,
        '--timeout',
        '30',
      );
      assert.equal(created['FunctionName'], 'echo');
      await aws('wait', 'function-active-v2', ...of);
      const variables = ['--environment', 'Variables={A1=b}'];
      const updated = await aws('update-function-configuration', ...of, ...variables);
      assert.deepEqual(updated['Environment'], { Variables: { A1: 'b' } });
      const payload = ['--payload', '{"by":"cli"}', '--cli-binary-format', 'raw-in-base64-out'];
      const answer = join(thaw.root, 'answer.json');
      const invoked = await aws('invoke', ...of, ...payload, '--log-type', 'Tail', answer);
      assert.equal(invoked['StatusCode'], 200);
      assert.equal(await readFile(answer, 'utf8'), '{"by":"cli"}');
      assert.match(Buffer.from(String(invoked['LogResult']), 'base64').toString(), /REPORT/);
      const listed = await aws('list-functions', '--query', 'Functions[].FunctionName');
      assert.deepEqual(listed, ['echo']);
      await aws('delete-function', ...of);
      await assert.rejects(
        aws('get-function', ...of),
        /ResourceNotFoundException.*Function not found: arn:/,
      );
    });
  },
);

type Aws = (...args: readonly string[]) => Promise<Readonly<Record<string, unknown>>>;

/** Commands of `aws lambda`, and what they print. Older ones do not read the endpoint from the environment. */
function awsOf(env: NodeJS.ProcessEnv): Aws {
  return async (...args) => {
    const flags = [
      '--endpoint-url',
      env['AWS_ENDPOINT_URL'] ?? '',
      '--output',
      'json',
      '--no-cli-pager',
    ];
    const child = spawn(debianAws, ['lambda', ...args, ...flags], { env });
    const { status, stdout, stderr } = await endOf(child);
    if (status !== 0) throw new Error(stderr);
    return stdout.trim() === '' ? {} : (JSON.parse(stdout) as Record<string, unknown>);
  };
}
