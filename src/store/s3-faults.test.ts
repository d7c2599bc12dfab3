/**
 * The origin in S3 against answers that no real server gives on demand: lost, cut short, contradictory, or from a
 * server that lacks what we need.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';

import { serveLocally } from '../../test/support/local-server.ts';
import type { ObjectStore } from './object-store.ts';
import { openS3Store, type S3Store, type S3StoreOptions } from './s3-store.ts';
import { withRetry } from './with-retry.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => unknown;

interface Stub extends AsyncDisposable {
  readonly store: S3Store;
  readonly server: ReturnType<typeof createServer>;
}

type StubOptions = Partial<S3StoreOptions> & { readonly fromDefaultChain?: boolean };

/** A store at a server that answers as `handler` does; the put that proves conditional writes it answers itself. */
async function storeAt(
  handler: Handler,
  { fromDefaultChain = false, ...options }: StubOptions = {},
): Promise<Stub> {
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/bucket/%40put-if-absent') !== true) {
      void handler(request, response);
      return;
    }
    request.resume();
    response.writeHead(412).end();
  });
  await using stack = new AsyncDisposableStack();
  const { host } = stack.use(await serveLocally(server));
  const credentials = { accessKeyId: 'AK', secretAccessKey: 'SK' };
  const store = stack.use(
    await openS3Store({
      bucket: 'bucket',
      endpoint: `http://${host}`,
      ...(fromDefaultChain ? {} : { credentials: async () => credentials }),
      ...options,
    }),
  );
  const owned = stack.move();
  return { store, server, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function answer(response: ServerResponse, status: number, code?: string): void {
  const xml =
    code === undefined ? '' : `<Error><Code>${code}</Code><Message>said</Message></Error>`;
  response.writeHead(status, { 'content-type': 'application/xml' }).end(xml);
}

async function listAll(store: ObjectStore): Promise<void> {
  for await (const info of store.list('')) assert.ok(info.name !== '');
}

const requests: Readonly<Record<string, (store: ObjectStore) => Promise<unknown>>> = {
  get: (store) => store.get('a'),
  head: (store) => store.head('a'),
  put: (store) => store.putIfAbsent('a', Buffer.from('1')),
  delete: (store) => store.delete('a'),
  list: (store) => listAll(store),
};

const refusals: Readonly<Record<string, readonly [status: number, code: string, says: RegExp]>> = {
  SlowDown: [503, 'ERR_STORE_UNAVAILABLE', /SlowDown, status 503 \(said\)/],
  InternalError: [500, 'ERR_STORE_UNAVAILABLE', /InternalError, status 500/],
  TooManyRequests: [429, 'ERR_STORE_UNAVAILABLE', /status 429/],
  RequestTimeout: [400, 'ERR_STORE_UNAVAILABLE', /RequestTimeout/],
  OperationAborted: [409, 'ERR_STORE_UNAVAILABLE', /OperationAborted/],
  QuotaExceeded: [403, 'ERR_STORE_FULL', /QuotaExceeded/],
  ExpiredToken: [400, 'ERR_STORE_REFUSED', /ExpiredToken.*renew the credentials/],
  InvalidToken: [400, 'ERR_STORE_REFUSED', /InvalidToken.*check the access key/],
  PermanentRedirect: [301, 'ERR_STORE_CONFIGURATION', /set "store\.region".*is "us-east-1" now/],
  AuthorizationHeaderMalformed: [400, 'ERR_STORE_CONFIGURATION', /set "store\.region"/],
  NoSuchBucket: [404, 'ERR_STORE_CONFIGURATION', /make the bucket "bucket" at http/],
  MethodNotAllowed: [405, 'ERR_STORE_CONFIGURATION', /check that http:.* is an S3 server/],
};
for (const [said, [status, code, message]] of Object.entries(refusals)) {
  test(`${said} (${status}) is ${code} to every request`, async () => {
    await using stub = await storeAt((_, response) => answer(response, status, said));
    for (const request of Object.values(requests)) {
      const retryable = code === 'ERR_STORE_UNAVAILABLE';
      await assert.rejects(request(stub.store), { code, message, retryable });
    }
  });
}

test('a page that no S3 server makes is no missing object', async () => {
  await using stub = await storeAt((_, response) => {
    response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>Not Found</h1>');
  });
  for (const request of Object.values(requests)) {
    const code = 'ERR_STORE_CONFIGURATION';
    await assert.rejects(request(stub.store), { code, message: /check that .* is an S3 server/ });
  }
});

test('a server that overwrites is found out before anything is stored', async () => {
  const put: string[] = [];
  const server = createServer((request, response) => {
    put.push(`${request.method} ${request.url?.replace(/\?.*/, '')}`);
    request.resume();
    response.writeHead(200).end();
  });
  await using running = await serveLocally(server);
  const credentials = async () => ({ accessKeyId: 'AK', secretAccessKey: 'SK' });
  const endpoint = `http://${running.host}`;
  await using store = await openS3Store({ bucket: 'bucket', endpoint, credentials });
  const code = 'ERR_STORE_OVERWRITES';
  const puts = [1, 2, 3].map((n) => store.putIfAbsent(`n${n}`, Buffer.from('1')));
  for (const outcome of puts) await assert.rejects(outcome, { code, retryable: false });
  assert.deepEqual(put, Array<string>(2).fill('PUT /bucket/%40put-if-absent'));
  await assert.rejects(store.checkWrites(), { code, message: /does not heed "If-None-Match/ });
});

test('a server that says it has no conditional writes is not written to', async () => {
  const server = createServer((request, response) => {
    request.resume();
    answer(response, 501, 'NotImplemented');
  });
  await using running = await serveLocally(server);
  const credentials = async () => ({ accessKeyId: 'AK', secretAccessKey: 'SK' });
  const endpoint = `http://${running.host}`;
  await using store = await openS3Store({ bucket: 'bucket', endpoint, credentials });
  const code = 'ERR_STORE_OVERWRITES';
  await assert.rejects(store.putIfAbsent('n', Buffer.from('1')), { code, retryable: false });
});

for (const [isThere, expected] of [
  [true, 'existed'],
  [false, 'created'],
] as const) {
  test(`a put that meets another looks again: ${expected}`, async () => {
    let conflicts = 0;
    await using stub = await storeAt((request, response) => {
      request.resume();
      if (request.method === 'PUT') {
        conflicts += 1;
        if (conflicts < 3) answer(response, 409, 'ConditionalRequestConflict');
        else answer(response, 200);
      } else if (isThere)
        response.writeHead(206, { 'content-range': 'bytes 0-0/9', 'content-length': 1 }).end('1');
      else answer(response, 404, 'NoSuchKey');
    });
    const bytes = Buffer.from('1');
    if (!isThere) {
      const code = 'ERR_STORE_UNAVAILABLE';
      await assert.rejects(stub.store.putIfAbsent('n', bytes), { code, retryable: true });
    }
    const store = withRetry(stub.store, { random: () => 0 });
    assert.equal(await store.putIfAbsent('n', bytes), expected);
  });
}

const badBodies: Readonly<Record<string, Handler>> = {
  'is cut short': (_, response) => {
    response.writeHead(200, { 'content-length': 100_000 }).write(Buffer.alloc(50_000));
    setImmediate(() => response.destroy());
  },
  'has no length': (_, response) => response.writeHead(200).end('bytes'),
  'claims more bytes than any object has': (_, response) => {
    response.writeHead(200, { 'content-length': 2 ** 50 }).write('bytes');
  },
  'is no HTTP': (request) => request.socket.end('220 smtp.example ESMTP\r\n'),
  'never begins': () => {},
  'stops in the middle': (_, response) => {
    response.writeHead(200, { 'content-length': 100_000 }).write(Buffer.alloc(50_000));
  },
};
for (const [what, handler] of Object.entries(badBodies)) {
  test(`an object whose answer ${what} is unavailable`, async () => {
    await using stub = await storeAt(handler, { idleTimeoutMs: 200 });
    const code = 'ERR_STORE_UNAVAILABLE';
    await assert.rejects(stub.store.get('a'), { code, retryable: true });
  });
}

test('every request to a silent server ends', async () => {
  await using stub = await storeAt(() => {}, { idleTimeoutMs: 200 });
  for (const request of Object.values(requests)) {
    const code = 'ERR_STORE_UNAVAILABLE';
    await assert.rejects(request(stub.store), { code, retryable: true });
  }
});

/** Longer than a test may take: whoever waits so long has not been told. */
const idleTimeoutMs = 3_600_000;

for (const [what, start] of Object.entries(requests)) {
  test(`abort() ends a ${what} under way, at the server as well`, async () => {
    const arrived = Promise.withResolvers<ServerResponse>();
    const endless: Handler = (request, response) => {
      request.resume();
      if (what === 'get') response.writeHead(200, { 'content-length': 10 }).write('1');
      arrived.resolve(response);
    };
    await using stub = await storeAt(endless, { idleTimeoutMs });
    const abort = new AbortController();
    const reason = new Error('no longer wanted');
    const { signal } = abort;
    const signalled: ObjectStore = {
      capabilities: stub.store.capabilities,
      get: (name) => stub.store.get(name, { signal }),
      head: (name) => stub.store.head(name, { signal }),
      putIfAbsent: (name, bytes) => stub.store.putIfAbsent(name, bytes, { signal }),
      delete: (name) => stub.store.delete(name, { signal }),
      list: (prefix) => stub.store.list(prefix, { signal }),
    };
    const outcome = assert.rejects(start(signalled), reason);
    const response = await arrived.promise;
    const closed = once(response, 'close');
    abort.abort(reason);
    await outcome;
    await closed;
    assert.equal(response.writableFinished, false);
  });
}

test('reads share connections, no more than they are given', async () => {
  let connections = 0;
  await using stub = await storeAt(
    (_, response) => response.writeHead(200, { 'content-length': 5 }).end('bytes'),
    { connectionsMax: 4 },
  );
  stub.server.on('connection', () => (connections += 1));
  for (let round = 0; round < 5; round += 1) {
    await Promise.all(Array.from({ length: 20 }, (_, at) => stub.store.get(`n${at}`)));
  }
  assert.equal(connections, 4);
});

/** Serves those who come with the token `good` and tells the others that theirs has expired. */
const onlyGoodToken: Handler = async (request, response) => {
  await buffer(request);
  const isGood = request.headers['x-amz-security-token'] === 'good';
  if (!isGood) answer(response, 400, 'ExpiredToken');
  else if (request.method === 'PUT' || request.url?.includes('list-type') === true) {
    response.writeHead(200).end('<ListBucketResult></ListBucketResult>');
  } else if (request.method === 'DELETE') response.writeHead(204).end();
  else response.writeHead(200, { 'content-length': 1 }).end('1');
};

for (const [what, request] of Object.entries(requests)) {
  test(`credentials that the server says have expired are renewed: ${what}`, async () => {
    let asked = 0;
    await using stub = await storeAt(onlyGoodToken, {
      credentials: async () => {
        asked += 1;
        const sessionToken = asked === 1 ? 'old' : 'good';
        return { accessKeyId: 'AK', secretAccessKey: 'SK', sessionToken };
      },
    });
    await Promise.all([1, 2, 3].map(() => request(stub.store)));
    await request(stub.store);
    assert.ok(asked >= 2);
  });
}

test('credentials are renewed before they expire', async () => {
  let asked = 0;
  await using stub = await storeAt(onlyGoodToken, {
    credentials: async () => {
      asked += 1;
      const sessionToken = asked === 1 ? 'old' : 'good';
      const lifeMs = asked === 1 ? 1000 : 3_600_000;
      const expiration = new Date(Date.now() + lifeMs);
      return { accessKeyId: 'AK', secretAccessKey: 'SK', sessionToken, expiration };
    },
  });
  assert.equal((await stub.store.get('a'))?.byteLength, 1);
  assert.equal(asked, 2);
});

test("credentials of the SDK's default chain are renewed as well", async (t) => {
  let asked = 0;
  const container = createServer((_, response) => {
    asked += 1;
    const lifeMs = asked === 1 ? 60_000 : 3_600_000;
    const given = { AccessKeyId: 'AK', SecretAccessKey: 'SK', Token: asked === 1 ? 'old' : 'good' };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ ...given, Expiration: new Date(Date.now() + lifeMs) }));
  });
  await using running = await serveLocally(container);
  const before = { ...process.env };
  t.after(() => {
    process.env = before;
  });
  for (const name of Object.keys(process.env))
    if (name.startsWith('AWS_')) delete process.env[name];
  process.env['AWS_CONFIG_FILE'] = '/nonexistent';
  process.env['AWS_SHARED_CREDENTIALS_FILE'] = '/nonexistent';
  process.env['AWS_CONTAINER_CREDENTIALS_FULL_URI'] = `http://${running.host}/credentials`;
  await using stub = await storeAt(onlyGoodToken, { fromDefaultChain: true });
  for (const request of Object.values(requests)) await request(stub.store);
  assert.ok(asked >= 2);
});

test('credentials that nobody gives out just now are no refusal', async () => {
  await using stub = await storeAt(() => assert.fail('nobody may ask'), {
    credentials: () => Promise.reject(new Error('connect ETIMEDOUT')),
  });
  for (const request of Object.values(requests)) {
    const code = 'ERR_STORE_UNAVAILABLE';
    await assert.rejects(request(stub.store), {
      code,
      message: /no credentials: connect ETIMEDOUT/,
    });
  }
});

test('credentials that cannot be had are told of, whatever the request', async () => {
  const thrown = Object.assign(new Error('Could not load credentials from any providers'), {
    name: 'CredentialsProviderError',
  });
  await using stub = await storeAt(() => assert.fail('nobody may ask'), {
    credentials: () => Promise.reject(thrown),
  });
  for (const request of Object.values(requests)) {
    const code = 'ERR_STORE_REFUSED';
    await assert.rejects(request(stub.store), { code, message: /Could not load.*AWS_PROFILE/ });
  }
});

test('a listing in another order than that of names is refused', async () => {
  await using stub = await storeAt((_, response) => {
    const contents = ['b', 'a'].map(
      (key) => `<Contents><Key>${key}</Key><Size>1</Size></Contents>`,
    );
    response.writeHead(200).end(`<ListBucketResult>${contents.join('')}</ListBucketResult>`);
  });
  const code = 'ERR_STORE_CONFIGURATION';
  await assert.rejects(listAll(stub.store), { code, message: /in byte order/ });
});

test('a listing that cannot go on is not taken for a whole one', async () => {
  await using stub = await storeAt((_, response) => {
    const page = '<IsTruncated>true</IsTruncated><Contents><Key>a</Key><Size>1</Size></Contents>';
    response.writeHead(200).end(`<ListBucketResult>${page}</ListBucketResult>`);
  });
  const code = 'ERR_STORE_UNAVAILABLE';
  await assert.rejects(listAll(stub.store), { code, message: /did not say how to go on/ });
});

test('the path of an endpoint comes before the bucket', async () => {
  const paths: string[] = [];
  const server = createServer((request, response) => {
    paths.push(request.url?.replace(/\?.*/, '') ?? '');
    request.resume();
    answer(response, request.method === 'PUT' ? 412 : 404, 'NoSuchKey');
  });
  await using running = await serveLocally(server);
  const credentials = async () => ({ accessKeyId: 'AK', secretAccessKey: 'SK' });
  const endpoint = `http://${running.host}/s3/`;
  await using store = await openS3Store({ bucket: 'bucket', prefix: 'p', endpoint, credentials });
  await store.get('a/b');
  await store.putIfAbsent('a/b', Buffer.from('1'));
  assert.deepEqual(paths, [
    '/s3/bucket/p/a/b',
    '/s3/bucket/p/%40put-if-absent',
    '/s3/bucket/p/a/b',
  ]);
});

for (const endpoint of ['rgw:8080', 'ftp://host', 'https://AK:hidden@host', 'https://host?x']) {
  test(`${endpoint.replace('hidden', '…')} is no endpoint`, async () => {
    await assert.rejects(openS3Store({ bucket: 'bucket', endpoint }), (thrown: Error) => {
      assert.match(thrown.message, /set "store\.endpoint" to http\[s\]:\/\/HOST/);
      return !thrown.message.includes('hidden');
    });
  });
}
