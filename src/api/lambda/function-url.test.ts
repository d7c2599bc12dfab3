/** Function URLs: who may call them, and what becomes of requests and answers. */

import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';

import { Sha256 } from '@smithy/core/checksum';
import { SignatureV4 } from '@smithy/signature-v4';
import fc from 'fast-check';

import { ThawError } from '../../base/index.ts';
import type { FunctionUrl } from '../../catalog/index.ts';
import { respond, type Program } from '../../functions/testing/simulated-worker.ts';
import { signatureAuthenticator } from '../sigv4/authenticator.ts';
import { parseUrlPath } from './function-url.ts';
import { openApi, type ApiFixture } from './testing/api-fixture.ts';

/** Answers every event by what `handle` makes of it. */
const program =
  (handle: (event: Record<string, unknown>) => unknown): (() => Program) =>
  () => ({
    init: async () => ({}),
    handle: async ({ payload }) => {
      return respond(
        handle(JSON.parse(Buffer.from(payload).toString()) as Record<string, unknown>),
      );
    },
  });

const ofDefault = 'AKIADEFAULTDEFAULT00';
const ofOther = 'AKIAOTHEROTHEROTHER0';
const keys: Readonly<Record<string, string>> = { [ofDefault]: 'default', [ofOther]: 'other' };
const secretAccessKey = 'a secret';

/** An API of two tenants, each with a function `hello` that has a URL. */
async function openUrls(
  t: TestContext,
  handle: (event: Record<string, unknown>) => unknown,
  config: Partial<Pick<FunctionUrl, 'authType' | 'invokeMode'>> = { authType: 'NONE' },
): Promise<ApiFixture> {
  const api = await openApi(t, {
    tenants: ['default', 'other'],
    program: program(handle),
    api: {
      authenticator: signatureAuthenticator({
        accessKeys: {
          find: async (id) =>
            keys[id] === undefined ? undefined : { tenant: keys[id], secretAccessKey },
        },
        region: 'local',
        clock: { nowMs: () => Date.now(), monotonicMs: () => performance.now() },
      }),
    },
  });
  for (const tenant of ['default', 'other']) {
    const of = { tenant, name: 'hello' };
    await api.service.create({ ...of, code: { packageType: 'Image', imageUri: 'first' } });
    await api.service.setUrl(of, config);
  }
  return api;
}

async function fetchSigned(url: string, accessKeyId: string, body = ''): Promise<Response> {
  const { host, pathname } = new URL(url);
  const signer = new SignatureV4({
    credentials: { accessKeyId, secretAccessKey },
    region: 'local',
    service: 'lambda',
    sha256: Sha256,
  });
  const request = {
    method: 'POST',
    protocol: 'http:',
    hostname: host,
    path: pathname,
    headers: { host, 'content-type': 'text/plain' },
    body,
  };
  const { headers } = await signer.sign(request);
  return await fetch(url, { method: 'POST', headers, body });
}

test('a request becomes an event, and what the function returns the answer', async (t) => {
  const events: Record<string, unknown>[] = [];
  const { url } = await openUrls(t, (event) => {
    events.push(event);
    return {
      statusCode: 201,
      headers: { 'content-type': 'text/plain', 'x-own': 'yes', connection: 'upgrade' },
      cookies: ['a=1', 'b=2'],
      body: 'made',
    };
  });
  const response = await fetch(`${url}/url/hello/some/path%20here?a=1&a=2&b=`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', cookie: 'c=3' },
    body: '{"x":1}',
  });
  assert.deepEqual([response.status, await response.text()], [201, 'made']);
  assert.equal(response.headers.get('x-own'), 'yes');
  assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2']);
  assert.notEqual(response.headers.get('connection'), 'upgrade');
  const [event] = events;
  assert.equal(event?.['version'], '2.0');
  assert.equal(event?.['rawPath'], '/some/path%20here');
  assert.equal(event?.['rawQueryString'], 'a=1&a=2&b=');
  assert.equal(event?.['body'], '{"x":1}');
  const context = event?.['requestContext'] as Record<string, unknown>;
  assert.deepEqual((context['http'] as Record<string, unknown>)['method'], 'PUT');
  assert.equal(context['accountId'], '000000000000');
  const headers = event?.['headers'] as Record<string, string>;
  assert.deepEqual(
    [headers['x-forwarded-for'], headers['x-forwarded-proto'], headers['cookie']],
    ['127.0.0.1', 'http', 'c=3'],
  );
  assert.equal(context['requestId'], response.headers.get('x-amzn-requestid'));
});

test('a bare value is the body of an answer of 200, without a path as with one', async (t) => {
  const { url } = await openUrls(t, ({ rawPath }) => ({ rawPath }));
  for (const path of ['/url/hello', '/url/hello/']) {
    const response = await fetch(url + path);
    assert.equal(response.headers.get('content-type'), 'application/json');
    assert.deepEqual(await response.json(), { rawPath: '/' });
  }
});

test('an answer that HTTP cannot carry, and a function that fails, are 502', async (t) => {
  const answers: readonly unknown[] = [
    { statusCode: 99 },
    { statusCode: 101 },
    { statusCode: 200, headers: { 'bad name': 'x' } },
    { statusCode: 200, headers: { 'x-split': 'a\r\nset-cookie: b=1' } },
  ];
  let next = 0;
  const { url, warnings } = await openUrls(t, () => answers[next]);
  for (; next < answers.length; next += 1) {
    const response = await fetch(`${url}/url/hello/`);
    assert.equal(response.status, 502, JSON.stringify(answers[next]));
    assert.doesNotMatch(await response.text(), /bad name|set-cookie|\.ts/);
  }
  assert.doesNotMatch(warnings.join(''), /ERR_INTERNAL/);
});

test('a web server that gives no answer is 502, in no words of ours', async (t) => {
  const { url, service } = await openApi(t, {
    program: () => ({
      init: async (control) => {
        control.exit({ status: 1, outOfMemory: false });
        return {};
      },
      handle: async () => respond({}),
    }),
  });
  const of = { tenant: 'default', name: 'hello' };
  const code = { packageType: 'Image', imageUri: 'first' } as const;
  await service.create({ ...of, code, webServer: { port: 8080, readyPath: '/' } });
  await service.setUrl(of, { authType: 'NONE' });
  const response = await fetch(`${url}/url/hello/`);
  assert.equal(response.status, 502);
  assert.equal(response.headers.get('x-amzn-errortype'), 'BadGatewayException');
  assert.doesNotMatch(await response.text(), /web server|sandbox|exit/);
});

test('an answer is as long as its body, whatever the function says', async (t) => {
  for (const invokeMode of ['BUFFERED', 'RESPONSE_STREAM'] as const) {
    for (const claimed of ['2', '2000']) {
      const head = { statusCode: 200, headers: { 'Content-Length': claimed } };
      const { url } = await openUrls(t, () => ({ ...head, body: 'all of it' }), {
        authType: 'NONE',
        invokeMode,
      });
      const response = await fetch(`${url}/url/hello/`);
      assert.match(await response.text(), /all of it/);
    }
  }
});

test('a stream is handed on, also where it is asked for of a function that answers whole', async (t) => {
  const { url } = await openUrls(t, () => 'all of it', {
    authType: 'NONE',
    invokeMode: 'RESPONSE_STREAM',
  });
  const response = await fetch(`${url}/url/hello/`);
  assert.deepEqual([response.status, await response.text()], [200, '"all of it"']);
});

test('a tenant is named in the URL, and gets its own function', async (t) => {
  const { url } = await openUrls(t, ({ requestContext }) => requestContext);
  const accountOf = async (path: string): Promise<unknown> =>
    ((await (await fetch(url + path)).json()) as { accountId: string }).accountId;
  assert.equal(await accountOf('/url/hello/'), '000000000000');
  assert.match(String(await accountOf('/url/hello@other/')), /^(?!0+$)\d{12}$/);
});

test('a URL of AWS_IAM takes requests that the same tenant signed, and no others', async (t) => {
  const { url } = await openUrls(t, ({ body }) => ({ body }), { authType: 'AWS_IAM' });
  const own = await fetchSigned(`${url}/url/hello/`, ofDefault, 'signed');
  assert.equal(own.status, 200, await own.clone().text());
  assert.equal(((await own.json()) as { body: string }).body, 'signed');
  const others = await fetchSigned(`${url}/url/hello@other/`, ofOther);
  assert.equal(others.status, 200);
  for (const response of [
    await fetch(`${url}/url/hello/`),
    await fetchSigned(`${url}/url/hello/`, ofOther),
    await fetchSigned(`${url}/url/hello@other/`, ofDefault),
    await fetchSigned(`${url}/url/hello/`, 'AKIANOBODYNOBODY0000'),
  ]) {
    assert.equal(response.status, 403);
    assert.deepEqual(await response.json(), { Type: 'User', Message: 'Forbidden' });
  }
});

test('whoever may not call a URL does not learn whether there is one', async (t) => {
  const { url, service } = await openUrls(t, () => null, { authType: 'AWS_IAM' });
  await service.setUrl({ tenant: 'default', name: 'hello' }, undefined);
  const replies = new Set<string>();
  for (const path of [
    '/url/hello/',
    '/url/hello@other/',
    '/url/missing/',
    '/url/missing@other/',
    '/url/hello@nobody/',
    '/url/hello:alias/',
    '/url/a b/',
    '/url/',
    '/url/..%2fhello/',
  ]) {
    const response = await fetch(url + path);
    replies.add(`${response.status} ${await response.text()}`);
  }
  assert.deepEqual([...replies], ['403 {"Type":"User","Message":"Forbidden"}']);
});

test('a request that would make too long an event is refused', async (t) => {
  const { url } = await openUrls(t, () => null);
  const body = Buffer.alloc(6 * 2 ** 20 - 1000); // in base64 a third longer
  const response = await fetch(`${url}/url/hello/`, { method: 'POST', body });
  assert.equal(response.status, 413);
  assert.equal(response.headers.get('x-amzn-errortype'), 'RequestTooLargeException');
});

test('paths are taken apart into what they name and the rest, or name nothing', () => {
  const of = (path: string) => parseUrlPath(path, 'default');
  assert.deepEqual(of('/url/f'), { of: { tenant: 'default', name: 'f' }, path: '/' });
  assert.deepEqual(of('/url/f:live@acme//x/'), {
    of: { tenant: 'acme', name: 'f', qualifier: 'live' },
    path: '//x/',
  });
  for (const wrong of [
    '/url/',
    '/url//',
    '/url/f:',
    '/url/f@',
    '/url/f@a@b/',
    '/url/f:a:b/',
    '/url/é',
  ]) {
    assert.equal(of(wrong), undefined, wrong);
  }
  fc.assert(
    fc.property(fc.string({ maxLength: 100 }), (text) => {
      try {
        const target = of(`/url/${text}`);
        if (target !== undefined) assert.ok(`/url/${text}/`.endsWith(`${target.path.slice(1)}/`));
      } catch (thrown) {
        assert.ok(thrown instanceof ThawError);
      }
    }),
  );
});
