/**
 * Answers that are handed on while they are being written, from end to end: by a web server at its URL, both ways, and by a Node
 * handler, through the SDK and at its URL.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { suite, test } from 'node:test';

import * as sdk from '@aws-sdk/client-lambda';
import type { LambdaClient } from '@aws-sdk/client-lambda';

import { makeZip } from '../../src/archive/testing/make-zip.ts';
import { missingHere } from '../../src/device/testing/worker-fixture.ts';
import { needsPrograms } from '../support/programs.ts';
import { accessKeyOf, serveApiOf } from '../support/served-api.ts';
import { writeShellImage } from '../support/shell-image.ts';
import { thawFor } from '../support/thaw.ts';

const skip = missingHere() || needsPrograms('busybox');
const Role = 'arn:aws:iam::000000000000:role/any';
const nodeRuntime = `nodejs${process.versions.node.split('.')[0]}.x` as sdk.Runtime;

/** A CGI program that says back what it is told, as it is told. */
const webScript = `
mkdir -p /tmp/www/cgi-bin
cat > /tmp/www/cgi-bin/echo <<'END'
#!/bin/sh
printf 'Content-Type: text/x-echo\\r\\n\\r\\n'
exec /bin/busybox cat
END
/bin/busybox chmod 755 /tmp/www/cgi-bin/echo
echo up > /tmp/www/index.html
exec /bin/busybox httpd -f -p $PORT -h /tmp/www
`;

const handlerSource = `
export const plain = awslambda.streamifyResponse(async (event, stream) => {
  stream.setContentType('text/x-told');
  for (const word of ['one ', 'two ', 'three']) stream.write(word);
  if (event.fail) throw new RangeError('as asked');
  stream.end();
});
export const http = awslambda.streamifyResponse(async (event, stream) => {
  const head = { statusCode: 203, headers: { 'X-Path': event.rawPath }, cookies: ['a=b'] };
  const response = awslambda.HttpResponseStream.from(stream, head);
  response.write(event.body ?? 'nothing');
  response.end('!');
});
`;

async function createStreaming(client: LambdaClient, name: string): Promise<void> {
  const zip = makeZip([{ name: 'index.mjs', content: handlerSource }]);
  await client.send(
    new sdk.CreateFunctionCommand({
      FunctionName: name,
      Role,
      Runtime: nodeRuntime,
      Handler: `index.${name}`,
      MemorySize: 512,
      Timeout: 300,
      Code: { ZipFile: zip },
    }),
  );
  const patience = { client, maxWaitTime: 500, minDelay: 1 };
  await sdk.waitUntilFunctionActiveV2(patience, { FunctionName: name });
}

/** What `InvokeWithResponseStream` gives: the payload, and what it says at the end. */
async function streamOf(
  client: LambdaClient,
  name: string,
  payload: object,
): Promise<{ text: string; end: sdk.InvokeWithResponseStreamCompleteEvent | undefined }> {
  const { EventStream = [] } = await client.send(
    new sdk.InvokeWithResponseStreamCommand({
      FunctionName: name,
      Payload: Buffer.from(JSON.stringify(payload)),
    }),
  );
  const parts: Uint8Array[] = [];
  let end: sdk.InvokeWithResponseStreamCompleteEvent | undefined;
  for await (const event of EventStream as AsyncIterable<sdk.InvokeWithResponseStreamResponseEvent>) {
    if (event.PayloadChunk?.Payload !== undefined) parts.push(event.PayloadChunk.Payload);
    if (event.InvokeComplete !== undefined) end = event.InvokeComplete;
  }
  return { text: Buffer.concat(parts).toString(), end };
}

suite('functions that stream', { skip }, () => {
  test('a web server and its caller hear each other while they talk', async (t) => {
    const thaw = await thawFor(t);
    const image = await writeShellImage(join(thaw.root, 'layout'), 'web', webScript);
    await thaw.json('image', 'convert', image, '--name', 'web');
    await using api = await serveApiOf(thaw, '--insecure-no-auth');
    const client = api.clientOf({ accessKeyId: 'any', secretAccessKey: 'any' });
    await client.send(
      new sdk.CreateFunctionCommand({
        FunctionName: 'web',
        Role,
        PackageType: 'Image',
        Code: { ImageUri: 'web' },
        Timeout: 300,
        Tags: { 'thaw:web-port': '8080' },
      }),
    );
    await sdk.waitUntilFunctionActiveV2(
      { client, maxWaitTime: 500, minDelay: 1 },
      { FunctionName: 'web' },
    );
    await client.send(
      new sdk.CreateFunctionUrlConfigCommand({ FunctionName: 'web', AuthType: 'NONE' }),
    );
    const outgoing = httpRequest(`${api.url}/url/web/cgi-bin/echo`, {
      method: 'POST',
      headers: { 'content-length': 6 },
    });
    outgoing.write('abc');
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
    assert.equal(incoming.statusCode, 200);
    assert.equal(incoming.headers['content-type'], 'text/x-echo');
    assert.equal(String((await once(incoming, 'data'))[0]), 'abc');
    outgoing.end('def');
    assert.equal(Buffer.concat(await incoming.toArray()).toString(), 'def');
    const index = await fetch(`${api.url}/url/web/`);
    assert.equal((await index.text()).trim(), 'up');
  });

  test('a Node handler streams to the SDK and at its URL', async (t) => {
    const thaw = await thawFor(t);
    const key = await accessKeyOf(thaw, 'default');
    await using api = await serveApiOf(thaw);
    const client = api.clientOf(key);
    await createStreaming(client, 'plain');
    const whole = await streamOf(client, 'plain', {});
    assert.deepEqual([whole.text, whole.end?.ErrorCode], ['one two three', undefined]);
    const broken = await streamOf(client, 'plain', { fail: true });
    assert.equal(broken.text, 'one two three');
    assert.equal(broken.end?.ErrorCode, 'Unhandled');
    assert.match(broken.end?.ErrorDetails ?? '', /RangeError/);
    const gathered = await client.send(new sdk.InvokeCommand({ FunctionName: 'plain' }));
    assert.equal(Buffer.from(gathered.Payload ?? []).toString(), 'one two three');

    await createStreaming(client, 'http');
    const url = { FunctionName: 'http', AuthType: 'NONE', InvokeMode: 'RESPONSE_STREAM' } as const;
    await client.send(new sdk.CreateFunctionUrlConfigCommand(url));
    const response = await fetch(`${api.url}/url/http/some/path`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: 'said',
    });
    assert.equal(response.status, 203);
    assert.equal(response.headers.get('x-path'), '/some/path');
    assert.equal(response.headers.get('set-cookie'), 'a=b');
    assert.equal(await response.text(), 'said!');
  });
});
