/** The origin in S3 on a real server. What no server does on demand is in s3-faults.test.ts. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import dns from 'node:dns';
import { suite, test } from 'node:test';

import {
  CreateBucketCommand,
  DeleteObjectCommand,
  PutBucketPolicyCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import fc from 'fast-check';

import { errorCode, errorMessage, forEachLimited } from '../base/index.ts';
import type { ObjectInfo, ObjectStore } from './object-store.ts';
import { ObjectReader } from './s3-reader.ts';
import { encodePath, RequestSigner, type S3Credentials } from './s3-signature.ts';
import { openS3Store, type S3Store, type S3StoreOptions } from './s3-store.ts';
import { objectStoreConformance } from './testing/object-store-conformance.ts';
import { radosgwMissing, radosgwRegion, sharedRadosgw, type Radosgw } from './testing/radosgw.ts';
import { withLimit } from './with-limit.ts';
import { withRetry } from './with-retry.ts';

const radosgw = sharedRadosgw();
const bucket = 'thaw-objects';
let bucketMade: Promise<void> | undefined;

function sdkClient({ endpoint, credentials }: Radosgw): S3Client {
  return new S3Client({ endpoint, region: radosgwRegion, forcePathStyle: true, credentials });
}

/** The bucket of the server of these tests, made by the first who asks. */
async function serverWithBucket(): Promise<Radosgw> {
  const server = await radosgw();
  bucketMade ??= (async () => {
    const client = sdkClient(server);
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
    client.destroy();
  })();
  await bucketMade;
  return server;
}

/** A store of no objects, in a prefix of its own. */
async function openEmptyStore(options: Partial<S3StoreOptions> = {}): Promise<S3Store> {
  const { endpoint, credentials } = await serverWithBucket();
  return await openS3Store({
    bucket,
    prefix: `tests/${randomUUID()}`,
    endpoint,
    credentials: async () => credentials,
    ...options,
  });
}

async function listed(store: ObjectStore, prefix = ''): Promise<readonly ObjectInfo[]> {
  const found: ObjectInfo[] = [];
  for await (const info of store.list(prefix)) found.push(info);
  return found;
}

/** Every request of a store, by what it is. */
const requests: Readonly<Record<string, (store: ObjectStore) => Promise<unknown>>> = {
  get: (store) => store.get('a'),
  head: (store) => store.head('a'),
  put: (store) => store.putIfAbsent('a', Buffer.from('1')),
  delete: (store) => store.delete('a'),
  list: (store) => listed(store),
};

interface Refusal {
  readonly code: string;
  readonly message: RegExp;
}

/** Every request must fail so, not to be tried again, in one line that says none of `secrets`. */
async function expectRefused(
  store: ObjectStore,
  expected: Refusal,
  secrets: readonly string[] = [],
): Promise<void> {
  for (const [what, request] of Object.entries(requests)) {
    await assert.rejects(request(store), (thrown: unknown) => {
      const message = errorMessage(thrown);
      assert.equal(errorCode(thrown), expected.code, `${what}: ${message}`);
      assert.match(message, expected.message, what);
      assert.equal((thrown as { retryable?: boolean }).retryable, false, what);
      for (const secret of secrets) assert.ok(!message.includes(secret), message);
      return true;
    });
  }
}

suite('on Ceph', { skip: radosgwMissing }, () => {
  objectStoreConformance({
    name: 'S3',
    create: async () => {
      const store = await openEmptyStore();
      return { store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
    },
  });

  objectStoreConformance({
    name: 'S3 over TLS with retries and a limit',
    create: async () => {
      const { secureEndpoint: endpoint, certificate } = await serverWithBucket();
      const inner = await openEmptyStore({ endpoint, ca: certificate.certificate });
      const store = withLimit(withRetry(inner, { random: () => 0.5 }), 4);
      return { store, [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose]() };
    },
  });

  test('a bucket is spoken to by its own host name', async (t) => {
    const { endpoint } = await serverWithBucket();
    const { port } = new URL(endpoint);
    t.mock.method(dns, 'lookup', (...args: unknown[]) => {
      const done = args.at(-1) as (error: null, addresses: readonly object[]) => void;
      assert.equal(args[0], `${bucket}.localhost`);
      process.nextTick(done, null, [{ address: '127.0.0.1', family: 4 }]);
    });
    const options = { endpoint: `http://localhost:${port}`, pathStyle: false };
    await using store = await openEmptyStore(options);
    assert.equal(await store.putIfAbsent('a/b', Buffer.from('1')), 'created');
    assert.equal(await store.putIfAbsent('a/b', Buffer.from('1')), 'existed');
    assert.equal(Buffer.from((await store.get('a/b')) ?? []).toString(), '1');
    assert.deepEqual(await listed(store), [{ name: 'a/b', sizeBytes: 1 }]);
  });

  test('stores of many processes that put one name make it once', async () => {
    const prefix = `race/${randomUUID()}`;
    await using stack = new AsyncDisposableStack();
    const stores: S3Store[] = [];
    for (let at = 0; at < 8; at += 1) stores.push(stack.use(await openEmptyStore({ prefix })));
    for (let round = 0; round < 10; round += 1) {
      const puts = stores.map((store, writer) =>
        store.putIfAbsent(`n${round}`, Buffer.alloc(600_000, `writer ${writer}`)),
      );
      const outcomes = await Promise.all(puts);
      assert.deepEqual(outcomes.toSorted(), ['created', ...Array<string>(7).fill('existed')]);
      const winner = Buffer.alloc(600_000, `writer ${outcomes.indexOf('created')}`);
      assert.ok(winner.equals((await stores[0]?.get(`n${round}`)) ?? Buffer.alloc(0)));
    }
  });

  test('any name is put, read, listed and deleted, under any prefix', async () => {
    const part = fc
      .string({
        unit: fc.constantFrom('a', 'z', 'A', 'Z', '0', '9', '.', '_', '-'),
        minLength: 1,
        maxLength: 30,
      })
      .filter((text) => text !== '.' && text !== '..');
    const name = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('/'));
    await fc.assert(
      fc.asyncProperty(name, name, async (prefix, name) => {
        await using store = await openEmptyStore({ prefix: `any/${randomUUID()}/${prefix}` });
        assert.equal(await store.putIfAbsent(name, Buffer.from(name)), 'created');
        assert.equal(Buffer.from((await store.get(name)) ?? []).toString(), name);
        assert.deepEqual(await listed(store), [{ name, sizeBytes: name.length }]);
        assert.equal(await store.delete(name), true);
        assert.deepEqual(await listed(store), []);
      }),
      { numRuns: 10 },
    );
  });

  test('any key is read with our signature, whatever its characters', async () => {
    const server = await serverWithBucket();
    const { endpoint, credentials } = server;
    const client = sdkClient(server);
    const signer = new RequestSigner(radosgwRegion);
    await using stack = new AsyncDisposableStack();
    const reader = new ObjectReader({
      origin: endpoint,
      connectionsMax: 1,
      connectTimeoutMs: 5000,
      idleTimeoutMs: 10_000,
      bodyMaxBytes: 1000,
    });
    stack.defer(() => reader.close());
    stack.defer(() => client.destroy());
    const part = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 30 })
      .filter((text) => !/^\.{1,2}$|\//.test(text));
    const key = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
    const ascii = Array.from({ length: 94 }, (_, at) => String.fromCharCode(33 + at)).join('');
    await fc.assert(
      fc.asyncProperty(key, async (key) => {
        await client.send(new PutObjectCommand({ Bucket: bucket, Key: `keys/${key}`, Body: key }));
        const path = `/${bucket}/${encodePath(`keys/${key}`)}`;
        const { host } = new URL(endpoint);
        const request = { method: 'GET', host, path, nowMs: Date.now(), credentials } as const;
        const headers = signer.headers(request);
        const { status, body } = await reader.get({ path, headers, signal: undefined });
        assert.deepEqual([status, Buffer.from(body).toString()], [200, key]);
      }),
      { numRuns: 30, examples: [[ascii], ['a b+c%20d'], ['ä/日本/🎉']] },
    );
  });

  test('a listing of several pages is whole, in order, and passes over what is not ours', async () => {
    const server = await serverWithBucket();
    const prefix = `pages/${randomUUID()}`;
    await using store = await openEmptyStore({ prefix });
    const names = Array.from({ length: 1100 }, (_, at) => `${at % 7}/x${(at * 7919) % 10_007}`);
    await forEachLimited(names, 16, async (name) => {
      await store.putIfAbsent(name, Buffer.from('1'));
    });
    const client = sdkClient(server);
    for (const key of ['a b', 'ä+%41', '\u0001', 'x//y', '..', '@other']) {
      await client.send(
        new PutObjectCommand({ Bucket: bucket, Key: `${prefix}/${key}`, Body: 'not ours' }),
      );
    }
    await client.send(
      new PutObjectCommand({ Bucket: bucket, Key: `${prefix}2/x`, Body: 'not ours' }),
    );
    client.destroy();
    assert.deepEqual(
      (await listed(store)).map(({ name }) => name),
      names.toSorted(),
    );
    assert.deepEqual(
      (await listed(store, '3/x1')).map(({ name }) => name),
      names.filter((name) => name.startsWith('3/x1')).toSorted(),
    );
  });

  test('an object of the largest size is kept whole', async () => {
    const objectSizeMaxBytes = 16 * 1024 * 1024;
    await using store = await openEmptyStore({ objectSizeMaxBytes });
    const bytes = Buffer.alloc(objectSizeMaxBytes, 'all of it;');
    const code = 'ERR_STORE_OBJECT_TOO_LARGE';
    const tooLarge = Buffer.alloc(objectSizeMaxBytes + 1);
    await assert.rejects(store.putIfAbsent('large', tooLarge), { code });
    assert.equal(await store.putIfAbsent('large', bytes), 'created');
    assert.equal(await store.putIfAbsent('large', bytes), 'existed');
    const read = await store.get('large');
    assert.ok(read !== undefined && Buffer.compare(read, bytes) === 0);
    assert.deepEqual(await store.head('large'), { name: 'large', sizeBytes: bytes.byteLength });
  });

  test('a wrong secret is refused, and not told', async () => {
    const { credentials } = await serverWithBucket();
    const wrong: S3Credentials = { ...credentials, secretAccessKey: 'not-the-secret' };
    await using store = await openEmptyStore({ credentials: async () => wrong });
    await expectRefused(
      store,
      {
        code: 'ERR_STORE_REFUSED',
        message: /SignatureDoesNotMatch, status 403.*check the access key/,
      },
      [wrong.secretAccessKey],
    );
  });

  test('an access key that nobody knows is refused', async () => {
    const credentials = async (): Promise<S3Credentials> => {
      return { accessKeyId: 'nobody', secretAccessKey: 'hidden' };
    };
    await using store = await openEmptyStore({ credentials });
    await expectRefused(
      store,
      {
        code: 'ERR_STORE_REFUSED',
        message: /InvalidAccessKeyId, status 403.*check the access key/,
      },
      ['hidden'],
    );
  });

  test('who has no rights to the bucket is told which it takes; who may read may not write', async () => {
    const server = await serverWithBucket();
    const stranger = await server.addUser('stranger');
    const options = { credentials: async () => stranger, prefix: `rights/${randomUUID()}` };
    await using store = await openEmptyStore(options);
    const message = /AccessDenied, status 403.*s3:GetObject.*s3:ListBucket on "thaw-objects"/;
    await expectRefused(store, { code: 'ERR_STORE_REFUSED', message });

    await using owned = await openEmptyStore({ prefix: options.prefix });
    await owned.putIfAbsent('a', Buffer.from('1'));
    const client = sdkClient(server);
    const resources = [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`];
    const statement = {
      Effect: 'Allow',
      Principal: { AWS: ['arn:aws:iam:::user/stranger'] },
      Action: ['s3:GetObject', 's3:ListBucket'],
      Resource: resources,
    };
    const policy = JSON.stringify({ Version: '2012-10-17', Statement: [statement] });
    await client.send(new PutBucketPolicyCommand({ Bucket: bucket, Policy: policy }));
    client.destroy();
    assert.equal(Buffer.from((await store.get('a')) ?? []).toString(), '1');
    assert.equal(await store.get('none'), undefined);
    assert.deepEqual(await listed(store), [{ name: 'a', sizeBytes: 1 }]);
    await store.checkReads();
    await assert.rejects(store.checkWrites(), {
      code: 'ERR_STORE_REFUSED',
      message: /AccessDenied/,
    });
  });

  test('a bucket that is not there is no store without objects', async () => {
    await using store = await openEmptyStore({ bucket: 'no-such-bucket' });
    await expectRefused(store, {
      code: 'ERR_STORE_CONFIGURATION',
      message: /NoSuchBucket, status 404.*make the bucket "no-such-bucket" at http/,
    });
  });

  test("a clock that is an hour off is set by the server's", async () => {
    for (const request of Object.values(requests)) {
      await using store = await openEmptyStore({ clockOffsetMs: 3_600_000 });
      await request(store);
      await using behind = await openEmptyStore({ clockOffsetMs: -3_600_000 });
      await request(behind);
    }
  });

  test('a certificate of an authority that nobody knows is refused', async () => {
    const { secureEndpoint: endpoint } = await serverWithBucket();
    await using store = await openEmptyStore({ endpoint });
    await expectRefused(store, { code: 'ERR_STORE_CONFIGURATION', message: /"store\.ca_file"/ });
  });

  test('a server that is gone is unavailable', async () => {
    await using store = await openEmptyStore({ endpoint: 'http://127.0.0.1:1' });
    for (const request of Object.values(requests)) {
      await assert.rejects(request(store), {
        code: 'ERR_STORE_UNAVAILABLE',
        retryable: true,
        message: /no answer from http:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/,
      });
    }
  });

  test('the proof of conditional writes is kept in the bucket and made again where it was removed', async () => {
    const server = await serverWithBucket();
    const prefix = `probe/${randomUUID()}`;
    const client = sdkClient(server);
    for (let round = 0; round < 3; round += 1) {
      await using store = await openEmptyStore({ prefix });
      await store.checkWrites();
      assert.equal(await store.putIfAbsent(`n${round}`, Buffer.from('1')), 'created');
      if (round === 1) {
        const Key = `${prefix}/@put-if-absent`;
        await client.send(new DeleteObjectCommand({ Bucket: bucket, Key }));
      }
    }
    client.destroy();
  });
});
