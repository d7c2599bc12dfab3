/**
 * Anything that a client can send: never a failure of the server, never a word about its insides, and always an answer to
 * the next honest request.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';

import { CreateFunctionCommand } from '@aws-sdk/client-lambda';
import fc from 'fast-check';

import { operations } from './operations.ts';
import { openApi } from './testing/api-fixture.ts';

interface Wild {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** Names that are there, that are not, that mean something to JavaScript or to a file system. */
const label = fc
  .oneof(
    fc.constantFrom(
      'hello',
      'hello:1',
      'hello:$LATEST',
      'missing',
      'arn:aws:lambda:local:000000000000:function:hello',
    ),
    fc.constantFrom(
      '..',
      '.',
      '%00',
      '__proto__',
      'constructor',
      'toString',
      'a/b',
      "'; drop table functions; --",
      '🧊',
    ),
    fc.string({ maxLength: 200 }),
  )
  .map((name) => encodeURIComponent(name.toWellFormed()));

const knownPath = fc
  .tuple(fc.constantFrom(...operations), fc.array(label, { minLength: 3, maxLength: 3 }))
  .map(([{ path }, labels]) => {
    let next = 0;
    return path.replaceAll(/\{\w+\}/g, () => labels[next++ % labels.length] ?? '');
  });
/** What a request line can hold. */
const anyPath = fc
  .string({
    unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
    maxLength: 100,
  })
  .map((path) => `/${path}`);
const urlPath = fc.tuple(label, anyPath).map(([name, rest]) => `/url/${name}${rest}`);
const query = fc.oneof(
  fc.constant(''),
  fc
    .tuple(
      fc.constantFrom(
        'Qualifier',
        'Marker',
        'MaxItems',
        'FunctionVersion',
        'List',
        'tagKeys',
        '__proto__',
      ),
      label,
    )
    .map(([name, value]) => `?${name}=${value}`),
);

/** JSON with the members that operations read, of any type. */
const memberNames = [
  'FunctionName Code ZipFile ImageUri Role Environment Variables Tags',
  'Name Description FunctionVersion RoutingConfig MemorySize Timeout Publish DryRun',
  'RevisionId ImageConfig EntryPoint ReservedConcurrentExecutions AuthType InvokeMode MaximumRetryAttempts PackageType',
  'Runtime Handler Layers VpcConfig Architectures EphemeralStorage Size __proto__',
  'x',
].flatMap((line) => line.split(' '));
const members = fc.constantFrom(...memberNames);
const scalar = fc.oneof(
  fc.constantFrom('hello', 'first', 'Image', 'Zip', 'nodejs24.x', 'NONE', '1', '$LATEST', '/x', ''),
  fc.string({ maxLength: 50 }),
  fc.double(),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
);
const { value: json } = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 4 }, scalar, fc.array(tie('value'), { maxLength: 3 }), tie('object')),
  object: fc.dictionary(members, tie('value'), { maxKeys: 8, noNullPrototype: true }),
}));
const body = fc.oneof(
  json.map((value) => Buffer.from(JSON.stringify(value))),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.constant(Buffer.alloc(0)),
);
const headerNames = [
  'x-amz-invocation-type x-amz-log-type x-amz-client-context x-amzn-trace-id content-type',
  'authorization x-amz-date x-amz-content-sha256 x-forwarded-for accept',
  'expect range',
].flatMap((line) => line.split(' '));
const headers = fc.dictionary(
  fc.constantFrom(...headerNames),
  fc.oneof(
    fc.constantFrom('Event', 'DryRun', 'Tail', 'e30=', 'application/json', 'Root=1;Sampled=1'),
    fc.string({
      unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
      maxLength: 60,
    }),
  ),
  { maxKeys: 4, noNullPrototype: true },
);
const wild: fc.Arbitrary<Wild> = fc
  .tuple(
    fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH'),
    fc.oneof({ weight: 6, arbitrary: knownPath }, anyPath, urlPath),
    query,
    headers,
    body,
  )
  .map(([method, path, asked, given, bytes]) => ({
    method,
    path: path + asked,
    headers: given,
    body: bytes,
  }));

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return ''; // wrongly encoded, so that nobody can have read it
  }
}

/** What was sent, in all the forms in which it may come back. */
function sentText({ path, body: bytes }: Wild): string {
  return `${path} ${decoded(path)} ${bytes.toString()}`;
}

/** Of this machine, this program, or the language that it is written in. */
const insides =
  /node_modules|\.ts\b|\.js\b|node:|\bat [\w.<]+ \(|\/tmp\/|\/work\/|sqlite|kysely|undefined|\[object|TypeError|tenant/i;

async function send(
  url: string,
  { method, path, headers: given, body: bytes }: Wild,
  agent: Agent,
) {
  const { hostname, port } = new URL(url);
  // Node would leave the length away where the method has no body in general.
  const withLength = { ...given, 'content-length': String(bytes.byteLength) };
  const request = httpRequest({ hostname, port, method, path, headers: withLength, agent });
  request.end(bytes);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: await text(response),
  };
}

test('whatever is sent is answered, and never by a failure of the server', async (t) => {
  const { url, client, service, warnings } = await openApi(t);
  const Code = { ImageUri: 'first' };
  const create = { FunctionName: 'hello', PackageType: 'Image', Code, Role: 'r' } as const;
  await client.send(new CreateFunctionCommand(create));
  await service.setUrl({ tenant: 'default', name: 'hello' }, { authType: 'NONE' });
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const requests = fc.asyncProperty(wild, async (request) => {
    const reply = await send(url, request, agent);
    const told = JSON.stringify([
      request.method,
      request.path,
      request.headers,
      request.body.toString(),
      reply,
    ]);
    assert.ok(reply.status < 500, told);
    assert.match(String(reply.headers['x-amzn-requestid']), /^[0-9a-f-]{36}$/, told);
    if (reply.status < 400) return;
    // What the client sent may come back in the words of a refusal.
    if (!insides.test(sentText(request))) {
      assert.doesNotMatch(reply.body, insides, told);
    }
    if (request.method !== 'HEAD') assert.ok(reply.headers['x-amzn-errortype'] !== undefined, told);
  });
  await fc.assert(requests, { numRuns: 600 });
  assert.deepEqual(warnings, []);
  await client.send(new CreateFunctionCommand({ ...create, FunctionName: 'after-all' }));
});
