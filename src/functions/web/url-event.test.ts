import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { test } from 'node:test';

import fc from 'fast-check';

import { splitUrlStream, urlEventOf, urlResponseOf, type UrlRequest } from './url-event.ts';

/** As in the developer guide's example of a request. */
const request: UrlRequest = {
  method: 'POST',
  path: '/my/path',
  query: 'parameter1=value1&parameter1=value2&parameter2=value',
  headers: {
    cookie: 'cookie1; cookie2',
    header1: 'value1',
    header2: ['value1', 'value2'],
    host: 'url-id.lambda-url.us-west-2.on.aws',
    'user-agent': 'agent',
    'content-type': 'text/plain',
    gone: undefined,
  },
  body: Buffer.from('Hello from client!'),
  requestId: 'id',
  accountId: '123456789012',
  sourceIp: '123.123.123.123',
  timeMs: 1_584_039_838_390,
};

test("a request becomes the developer guide's event", () => {
  assert.deepEqual(urlEventOf(request), {
    version: '2.0',
    routeKey: '$default',
    rawPath: '/my/path',
    rawQueryString: 'parameter1=value1&parameter1=value2&parameter2=value',
    cookies: ['cookie1', 'cookie2'],
    headers: {
      cookie: 'cookie1; cookie2',
      header1: 'value1',
      header2: 'value1,value2',
      host: 'url-id.lambda-url.us-west-2.on.aws',
      'user-agent': 'agent',
      'content-type': 'text/plain',
    },
    queryStringParameters: { parameter1: 'value1,value2', parameter2: 'value' },
    requestContext: {
      accountId: '123456789012',
      apiId: 'url-id',
      authentication: null,
      domainName: 'url-id.lambda-url.us-west-2.on.aws',
      domainPrefix: 'url-id',
      http: {
        method: 'POST',
        path: '/my/path',
        protocol: 'HTTP/1.1',
        sourceIp: '123.123.123.123',
        userAgent: 'agent',
      },
      requestId: 'id',
      routeKey: '$default',
      stage: '$default',
      time: '12/Mar/2020:19:03:58 +0000',
      timeEpoch: 1_584_039_838_390,
    },
    body: 'Hello from client!',
    isBase64Encoded: false,
  });
});

test('what a request does not have is left out of its event', () => {
  const bare = { ...request, query: '', headers: {}, body: Buffer.alloc(0) };
  const event = urlEventOf(bare);
  const absent = ['cookies', 'queryStringParameters', 'body'];
  assert.deepEqual(
    absent.filter((name) => name in event),
    [],
  );
  assert.deepEqual([event.rawQueryString, event.isBase64Encoded], ['', false]);
});

test('a body is text where its type says so and it is UTF-8, else base64', () => {
  const encoded = (type: string | undefined, body: Uint8Array, encoding?: string) =>
    urlEventOf({
      ...request,
      headers: { 'content-type': type, 'content-encoding': encoding },
      body,
    }).isBase64Encoded;
  const text = Buffer.from('ü');
  for (const type of ['application/json', 'text/html; charset=utf-8', 'image/svg+xml']) {
    assert.equal(encoded(type, text), false, type);
  }
  for (const type of ['application/x-www-form-urlencoded', 'image/png', undefined]) {
    assert.equal(encoded(type, text), true, type);
  }
  assert.equal(encoded('text/plain', Buffer.from([0xff])), true);
  assert.equal(encoded('text/plain', text, 'gzip'), true);
});

test('any body comes back from its event as it was', () => {
  const types = fc.constantFrom('text/plain', 'application/json', 'image/png');
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1 }), types, (body, type) => {
      const event = urlEventOf({ ...request, headers: { 'content-type': type }, body });
      const back = Buffer.from(event.body ?? '', event.isBase64Encoded ? 'base64' : 'utf8');
      assert.deepEqual(back, Buffer.from(body));
    }),
  );
});

function responseOf(value: unknown): { status: number; headers: unknown; body: string } {
  const { body, ...head } = urlResponseOf(Buffer.from(JSON.stringify(value)));
  return { ...head, body: Buffer.from(body).toString() };
}

test('JSON without a status code is the body of a response, as in the developer guide', () => {
  const headers = { 'content-type': 'application/json' };
  for (const value of ['Hello, world!', { message: 'Hello, world!' }, null, 7, [1]]) {
    assert.deepEqual(responseOf(value), { status: 200, headers, body: JSON.stringify(value) });
  }
});

test('an object with a status code says what the response is, as in the developer guide', () => {
  const body = JSON.stringify({ message: 'Hello, world!' });
  assert.deepEqual(
    responseOf({
      statusCode: 201,
      headers: { 'Content-Type': 'application/json', 'My-Custom-Header': 'Custom Value' },
      body,
      isBase64Encoded: false,
    }),
    {
      status: 201,
      headers: { 'content-type': 'application/json', 'my-custom-header': 'Custom Value' },
      body,
    },
  );
  assert.deepEqual(
    responseOf({
      statusCode: '200',
      cookies: ['Cookie_1=Value1; Expires=21 Oct 2021 07:48 GMT', 'Cookie_2=Value2; Max-Age=78000'],
      body: Buffer.from('bytes').toString('base64'),
      isBase64Encoded: true,
      headers: { 'Content-Type': 'image/png', 'Set-Cookie': 'a=b', 'X-Count': 3 },
    }),
    {
      status: 200,
      headers: {
        'content-type': 'image/png',
        'x-count': '3',
        'set-cookie': [
          'a=b',
          'Cookie_1=Value1; Expires=21 Oct 2021 07:48 GMT',
          'Cookie_2=Value2; Max-Age=78000',
        ],
      },
      body: 'bytes',
    },
  );
  assert.deepEqual(responseOf({ statusCode: 204 }), {
    status: 204,
    headers: { 'content-type': 'application/json' },
    body: '',
  });
});

test('what is no response is answered with 502 and tells nothing', () => {
  const bad = [
    { statusCode: 'many' },
    { statusCode: 42 },
    { statusCode: 200, headers: [] },
    { statusCode: 200, cookies: 'a' },
    { statusCode: 200, body: '*', isBase64Encoded: true },
  ];
  for (const value of bad) {
    assert.deepEqual(responseOf(value).status, 502, JSON.stringify(value));
    assert.equal(responseOf(value).body, 'Internal Server Error');
  }
  assert.equal(urlResponseOf(Buffer.from('no JSON')).status, 502);
});

test('no value that a function returns makes anything but a response', () => {
  const noText = { toString: 0, valueOf: null };
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (statusCode, headers) => {
      const value = { statusCode, headers, cookies: headers, body: headers };
      const response = urlResponseOf(Buffer.from(JSON.stringify(value)));
      assert(response.status >= 100 && response.status <= 599);
      for (const field of Object.values(response.headers)) {
        assert(typeof field === 'string' || field.every((one) => typeof one === 'string'));
      }
    }),
    {
      examples: [
        [noText, null],
        [200, { a: noText, b: [noText] }],
        [200, [noText]],
      ],
    },
  );
});

const integration = 'application/vnd.awslambda.http-integration-response';
const prelude = JSON.stringify({
  statusCode: 418,
  headers: { 'Content-Type': 'text/html', 'X-A': 'b' },
  cookies: ['c=d'],
});
const streamed = Buffer.concat([Buffer.from(prelude), Buffer.alloc(8), Buffer.from('<p>\0\0')]);

test("a stream's prelude is its head wherever the stream is cut into parts", async () => {
  const cuts = fc.array(fc.nat(streamed.byteLength), { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(cuts, async (unsorted) => {
      const at = [0, ...unsorted.toSorted((a, b) => a - b), streamed.byteLength];
      const parts = at.slice(1).map((end, index) => streamed.subarray(at[index], end));
      const whole = parts.filter((part) => part.byteLength > 0);
      const { body, ...head } = await splitUrlStream(Readable.from(whole), integration);
      assert.deepEqual(head, {
        status: 418,
        headers: { 'content-type': 'text/html', 'x-a': 'b', 'set-cookie': ['c=d'] },
      });
      assert.equal(Buffer.concat(await body.toArray()).toString(), '<p>\0\0');
    }),
  );
  assert.equal(urlResponseOf(streamed, integration).status, 418);
  assert.equal(Buffer.from(urlResponseOf(streamed, integration).body).toString(), '<p>\0\0');
});

test('a stream without a prelude is the body, of the type that the runtime told', async () => {
  const { status, headers, body } = await splitUrlStream(Readable.from([Buffer.from('x')]), 'a/b');
  assert.deepEqual([status, headers], [200, { 'content-type': 'a/b' }]);
  assert.equal(String((await body.toArray())[0]), 'x');
});

test('a stream whose prelude never comes, or is none, is answered with 502', async () => {
  for (const bytes of [Buffer.from('{"statusCode":200}'), Buffer.alloc(100_000, 0x20)]) {
    assert.equal((await splitUrlStream(Readable.from([bytes]), integration)).status, 502);
  }
  const garbage = Buffer.concat([Buffer.from('garbage'), Buffer.alloc(8)]);
  assert.equal((await splitUrlStream(Readable.from([garbage]), integration)).status, 502);
});

test('a body that is given up gives up its stream, and fails with it', async () => {
  const source = new PassThrough();
  source.write(streamed);
  const { body } = await splitUrlStream(source, integration);
  body.destroy();
  await new Promise((resolve) => source.once('close', resolve));
  const failing = new PassThrough();
  failing.write(streamed);
  const other = await splitUrlStream(failing, integration);
  const rejected = assert.rejects(other.body.toArray(), { message: 'half' });
  failing.destroy(new Error('half'));
  await rejected;
});
