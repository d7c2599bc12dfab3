import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3';
import fc from 'fast-check';

import { encodePath, RequestSigner, signingKey, type S3Credentials } from './s3-signature.ts';

const exampleSecret = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';

test('signingKey() derives the key of the example that AWS gives', () => {
  // AWS General Reference, "Examples of how to derive a signing key for Signature Version 4".
  const key = signingKey(exampleSecret, { day: '20120215', region: 'us-east-1', service: 'iam' });
  const expected = 'f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d';
  assert.equal(key.toString('hex'), expected);
});

/** What the SDK's signer needs of a request, and adds to it. */
interface SignableRequest {
  method: string;
  protocol: string;
  hostname: string;
  port?: number;
  path: string;
  query: Record<string, string>;
  headers: Record<string, string>;
}

/** The SDK's own signer, as its S3 client uses it. */
async function sdkHeaders(
  request: { method: string; host: string; path: string; nowMs: number },
  region: string,
  credentials: S3Credentials,
): Promise<Record<string, string>> {
  const client = new S3Client({ region, credentials });
  const signer = await client.config.signer({
    name: 'sigv4',
    signingName: 's3',
    signingRegion: region,
    properties: {},
  });
  const { method, host, path, nowMs } = request;
  const signable: SignableRequest = {
    method,
    protocol: 'http:',
    hostname: host,
    path,
    query: {},
    headers: { host, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' },
  };
  const signed = await signer.sign(signable, { signingDate: new Date(nowMs) });
  return signed.headers;
}

/** Of printable characters, as credentials are. */
const visible = fc.string({
  minLength: 1,
  maxLength: 40,
  unit: fc.integer({ min: 33, max: 126 }).map((code) => String.fromCharCode(code)),
});
const credentials = fc.record(
  { accessKeyId: visible, secretAccessKey: visible, sessionToken: visible },
  { requiredKeys: ['accessKeyId', 'secretAccessKey'], noNullPrototype: true },
);
const key = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }).filter((text) => {
  return text.isWellFormed() && !text.split('/').some((part) => ['', '.', '..'].includes(part));
});

test("the signature of any key is that of the SDK's signer", async () => {
  await fc.assert(
    fc.asyncProperty(
      credentials,
      key,
      fc.constantFrom('us-east-1', 'eu-central-1'),
      fc.integer({ min: Date.UTC(2000), max: Date.UTC(2099) }),
      fc.constantFrom('bucket.s3.eu-central-1.amazonaws.com', '127.0.0.1:9000'),
      async (credentials, key, region, nowMs, host) => {
        const signer = new RequestSigner(region);
        const request = { method: 'GET', host, path: `/bucket/${encodePath(key)}`, nowMs } as const;
        const ours = signer.headers({ ...request, credentials });
        const theirs = await sdkHeaders(request, region, credentials);
        assert.equal(ours['authorization'], theirs['authorization']);
        assert.deepEqual({ host, ...ours }, theirs);
      },
    ),
    { numRuns: 200 },
  );
});

test('one signer signs rightly when the day or the secret changes', async () => {
  const signer = new RequestSigner('us-east-1');
  for (const [secretAccessKey, nowMs] of [
    ['one', Date.UTC(2026, 0, 31, 23, 59, 59, 999)],
    ['one', Date.UTC(2026, 1, 1)],
    ['two', Date.UTC(2026, 1, 1)],
    ['one', Date.UTC(2026, 1, 1)],
  ] as const) {
    const credentials = { accessKeyId: 'AK', secretAccessKey };
    const request = { method: 'GET', host: 'h', path: '/k', nowMs } as const;
    const ours = signer.headers({ ...request, credentials });
    const theirs = await sdkHeaders(request, 'us-east-1', credentials);
    assert.equal(ours['authorization'], theirs['authorization']);
  }
});

test('a path is encoded as the SDK encodes it', async () => {
  const paths: string[] = [];
  await using server = createServer((request, response) => {
    paths.push(request.url ?? '');
    response.end();
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  const endpoint = `http://127.0.0.1:${port}`;
  const credentials = { accessKeyId: 'AK', secretAccessKey: 'SK' };
  const client = new S3Client({ endpoint, region: 'r', forcePathStyle: true, credentials });
  const ascii = Array.from({ length: 94 }, (_, at) => String.fromCharCode(33 + at)).join('');
  for (const key of [ascii.replace('/', 'x/y'), 'ä/ö ü', '日本/🎉', '@put-if-absent', 'a+b=c&d']) {
    await client.send(new GetObjectCommand({ Bucket: 'bucket', Key: key }));
    assert.equal(paths.at(-1), `/bucket/${encodePath(key)}?x-id=GetObject`);
  }
  client.destroy();
  server.closeAllConnections();
});
