/** What browsers are told of function URLs, by requests as browsers send them. */

import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';

import {
  CreateFunctionUrlConfigCommand,
  GetFunctionUrlConfigCommand,
  LambdaClient,
  UpdateFunctionUrlConfigCommand,
  type Cors,
} from '@aws-sdk/client-lambda';

import { respond } from '../../functions/testing/simulated-worker.ts';
import { openApi } from './testing/api-fixture.ts';

const page = 'https://www.example.com';
const FunctionName = 'hello';

interface Setup {
  readonly client: LambdaClient;
  readonly url: string;
  /** How often the function was invoked. */
  readonly invokes: () => number;
}

/** A function that sets headers of its own, which it has no say in where its URL has `Cors`. */
async function urlWith(t: TestContext, Cors?: Cors): Promise<Setup> {
  let invokes = 0;
  const { url, service } = await openApi(t, {
    program: () => ({
      init: async () => ({}),
      handle: async () => {
        invokes += 1;
        const headers = { 'access-control-allow-origin': 'https://its.own', vary: 'Accept' };
        return respond({ statusCode: 200, headers, body: 'x' });
      },
    }),
  });
  const code = { packageType: 'Image', imageUri: 'first' } as const;
  await service.create({ tenant: 'default', name: FunctionName, code });
  const client = new LambdaClient({
    endpoint: url,
    region: 'local',
    credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
    maxAttempts: 1,
  });
  t.after(() => client.destroy());
  await client.send(
    new CreateFunctionUrlConfigCommand({
      FunctionName,
      AuthType: 'NONE',
      ...(Cors !== undefined && { Cors }),
    }),
  );
  return { client, url: `${url}/url/${FunctionName}/`, invokes: () => invokes };
}

function preflight(url: string, origin: string): Promise<Response> {
  const headers = { origin, 'access-control-request-method': 'PUT' };
  return fetch(url, { method: 'OPTIONS', headers });
}

function corsHeaders({ headers }: Response): Record<string, string> {
  return Object.fromEntries(
    [...headers].filter(([name]) => name === 'vary' || name.startsWith('access-control-')),
  );
}

test('preflight requests are answered without the function, for origins that are allowed', async (t) => {
  const { url, invokes } = await urlWith(t, {
    AllowOrigins: [page, 'https://other.example'],
    AllowMethods: ['GET', 'PUT'],
    AllowHeaders: ['x-one', 'x-two'],
    AllowCredentials: true,
    MaxAge: 600,
  });
  const allowed = await preflight(url, page);
  assert.equal(allowed.status, 200);
  assert.deepEqual(corsHeaders(allowed), {
    'access-control-allow-origin': page,
    'access-control-allow-credentials': 'true',
    'access-control-allow-methods': 'GET,PUT',
    'access-control-allow-headers': 'x-one,x-two',
    'access-control-max-age': '600',
    vary: 'Origin',
  });
  assert.deepEqual(corsHeaders(await preflight(url, 'https://evil.example')), { vary: 'Origin' });
  assert.equal(invokes(), 0);
});

test('answers get the headers of the settings, not those that the function set', async (t) => {
  const { url } = await urlWith(t, { AllowOrigins: [page], ExposeHeaders: ['x-made'] });
  assert.deepEqual(corsHeaders(await fetch(url, { headers: { origin: page } })), {
    'access-control-allow-origin': page,
    'access-control-expose-headers': 'x-made',
    vary: 'Accept, Origin',
  });
  for (const headers of [{ origin: 'https://evil.example' }, undefined]) {
    const response = await fetch(url, headers && { headers });
    assert.deepEqual(corsHeaders(response), { vary: 'Accept, Origin' });
  }
});

test('all origins are allowed by name where credentials are, else by a wildcard', async (t) => {
  const open = await urlWith(t, { AllowOrigins: ['*'] });
  const anybody = corsHeaders(await fetch(open.url, { headers: { origin: page } }));
  assert.deepEqual(anybody, { 'access-control-allow-origin': '*', vary: 'Accept' });
  const credentialed = await urlWith(t, { AllowOrigins: ['*'], AllowCredentials: true });
  assert.deepEqual(corsHeaders(await fetch(credentialed.url, { headers: { origin: page } })), {
    'access-control-allow-origin': page,
    'access-control-allow-credentials': 'true',
    vary: 'Accept, Origin',
  });
});

test('without Cors the function answers preflight requests and sets headers itself', async (t) => {
  const { url, client, invokes } = await urlWith(t);
  const own = { 'access-control-allow-origin': 'https://its.own', vary: 'Accept' };
  assert.deepEqual(corsHeaders(await preflight(url, page)), own);
  assert.equal(invokes(), 1);
  const update = (Cors: Cors) =>
    client.send(new UpdateFunctionUrlConfigCommand({ FunctionName, Cors }));
  const { Cors: shown } = await update({ AllowOrigins: [page] });
  assert.deepEqual(shown?.AllowOrigins, [page]);
  await client.send(new UpdateFunctionUrlConfigCommand({ FunctionName, AuthType: 'NONE' }));
  const kept = await client.send(new GetFunctionUrlConfigCommand({ FunctionName }));
  assert.deepEqual(kept.Cors, shown);
  assert.equal((await update({})).Cors, undefined);
  assert.deepEqual(corsHeaders(await preflight(url, page)), own);
});

test('a URL of AWS_IAM answers preflight requests, which browsers cannot sign', async (t) => {
  const { url, client } = await urlWith(t, { AllowOrigins: [page] });
  await client.send(new UpdateFunctionUrlConfigCommand({ FunctionName, AuthType: 'AWS_IAM' }));
  const allowed = corsHeaders(await preflight(url, page))['access-control-allow-origin'];
  assert.equal(allowed, page);
});

test('Cors that no header can hold, or that is too long, is refused', async (t) => {
  const { client } = await urlWith(t);
  for (const Cors of [
    { AllowOrigins: ['https://a.example,https://b.example'] },
    { AllowOrigins: ['https://a.example\r\nset-cookie: a=1'] },
    { AllowOrigins: Array.from({ length: 101 }, (_, index) => `https://${index}.example`) },
    { AllowMethods: ['get it'] },
    { AllowHeaders: [''] },
    { MaxAge: 86_401 },
    { MaxAge: -1 },
  ]) {
    await assert.rejects(
      client.send(new UpdateFunctionUrlConfigCommand({ FunctionName, Cors })),
      { name: 'ValidationException' },
      JSON.stringify(Cors),
    );
  }
});
