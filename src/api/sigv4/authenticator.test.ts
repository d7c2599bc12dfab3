/** Requests signed by others' signers are let in, as what they are; whatever else is sent is refused in Lambda's words. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';

import { LambdaClient, ListFunctionsCommand } from '@aws-sdk/client-lambda';
import * as fc from 'fast-check';

import { systemClock, ThawError, type Clock } from '../../base/index.ts';
import { openCatalog, type Catalog } from '../../catalog/index.ts';
import { openLocalKeyring } from '../../keys/index.ts';
import { createAccessKeys, type AccessKeys, type NewAccessKey } from './access-keys.ts';
import { signatureAuthenticator, type Authenticator } from './authenticator.ts';
import { clockSkewMaxMs, type SignedRequest } from './verify-signature.ts';

const run = promisify(execFile);
const region = 'local';
/** Debian's, which has its botocore. */
const python = '/usr/bin/python3';

interface Fixture extends AsyncDisposable {
  readonly catalog: Catalog;
  readonly accessKeys: AccessKeys;
  readonly authenticator: Authenticator;
  readonly key: NewAccessKey;
}

async function openFixture(clock: Clock = systemClock): Promise<Fixture> {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-sigv4-'));
  const catalog = await openCatalog(join(directory, 'catalog.db'));
  const keys = await openLocalKeyring(join(directory, 'keyring.json'), {
    isInUse: async () => false,
  });
  const accessKeys = createAccessKeys({ catalog, keys, clock });
  await catalog.addTenant({ name: 'alice', createdAtMs: 1 });
  return {
    catalog,
    accessKeys,
    authenticator: signatureAuthenticator({ accessKeys, region, clock }),
    key: await accessKeys.create('alice'),
    [Symbol.asyncDispose]: async () => {
      await catalog[Symbol.asyncDispose]();
      await rm(directory, { recursive: true });
    },
  };
}

interface UnsignedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers?: Record<string, string>;
  readonly body: Uint8Array | string;
}

function sha256Hex(data: Uint8Array | string): string {
  return createHash('sha256').update(data).digest('hex');
}

/** The signature as the guide describes it step by step, and not as the library makes it. */
function signed(
  request: UnsignedRequest,
  key: NewAccessKey,
  at: { readonly ms: number; readonly region?: string; readonly service?: string },
): SignedRequest {
  const time = new Date(at.ms).toISOString().replaceAll(/[-:]|\.\d+/g, '');
  const scope = `${time.slice(0, 8)}/${at.region ?? region}/${at.service ?? 'lambda'}/aws4_request`;
  const headers: Record<string, string> = {
    host: 'localhost:9370',
    'x-amz-date': time,
    ...request.headers,
  };
  const names = Object.keys(headers).toSorted();
  const [path = '', search = ''] = request.url.split('?');
  const canonical = [
    request.method,
    path.split('/').map(encodeURIComponent).join('/'),
    search.split('&').toSorted().join('&'),
    ...names.map((name) => `${name}:${headers[name]}`),
    '',
    names.join(';'),
    sha256Hex(request.body),
  ].join('\n');
  const hmac = (secret: string | Buffer, text: string) =>
    createHmac('sha256', secret).update(text).digest();
  const signingKey = scope
    .split('/')
    .reduce<string | Buffer>(hmac, `AWS4${key.secretAccessKey}`) as Buffer;
  const toSign = ['AWS4-HMAC-SHA256', time, scope, sha256Hex(canonical)].join('\n');
  const signature = hmac(signingKey, toSign).toString('hex');
  headers['authorization'] =
    `AWS4-HMAC-SHA256 Credential=${key.accessKeyId}/${scope}, ` +
    `SignedHeaders=${names.join(';')}, Signature=${signature}`;
  return { ...request, headers, bodyDigestHex: async () => sha256Hex(request.body) };
}

const invocation = {
  method: 'POST',
  url: '/2015-03-31/functions/hello%3Alive/invocations?Qualifier=1',
  body: '{"a":1}',
};

async function refusalOf(authenticating: Promise<unknown>): Promise<string> {
  try {
    await authenticating;
  } catch (thrown) {
    assert.ok(thrown instanceof ThawError, String(thrown));
    assert.equal(thrown.details?.['httpStatus'], 403);
    return `${thrown.details?.['lambdaError']}: ${thrown.message}`;
  }
  return 'let in';
}

/** Answers who signed, as long as it is open. */
async function serve(authenticator: Authenticator): Promise<{ url: string } & AsyncDisposable> {
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.once('end', () => {
      const { method = '', url = '', headers } = request;
      const bodyDigestHex = async () => sha256Hex(Buffer.concat(parts));
      authenticator.authenticate({ method, url, headers, bodyDigestHex }).then(
        ({ tenant }) => response.end(JSON.stringify({ tenant, NextMarker: tenant })),
        (thrown: ThawError) => {
          response.writeHead(403, { 'x-amzn-errortype': thrown.details?.['lambdaError'] });
          response.end(JSON.stringify({ message: thrown.message }));
        },
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describe('a request signed by', () => {
  test("AWS's SDK for JavaScript is its tenant's", async () => {
    await using fixture = await openFixture();
    await using server = await serve(fixture.authenticator);
    const client = new LambdaClient({ region, endpoint: server.url, credentials: fixture.key });
    const { NextMarker } = await client.send(new ListFunctionsCommand({ Marker: 'ä b/c+d' }));
    assert.equal(NextMarker, 'alice');
    const secretAccessKey = 'x'.repeat(40);
    const impostor = new LambdaClient({
      region,
      endpoint: server.url,
      credentials: { ...fixture.key, secretAccessKey },
    });
    await assert.rejects(impostor.send(new ListFunctionsCommand({})), {
      name: 'InvalidSignatureException',
    });
  });

  test("curl is its tenant's", async () => {
    await using fixture = await openFixture();
    await using server = await serve(fixture.authenticator);
    const { accessKeyId, secretAccessKey } = fixture.key;
    const signing = ['--aws-sigv4', `aws:amz:${region}:lambda`];
    const body = ['--data', '{"a":1}', '-H', 'content-type: application/json'];
    const { stdout } = await run('curl', [
      '--silent',
      ...signing,
      '--user',
      `${accessKeyId}:${secretAccessKey}`,
      ...body,
      `${server.url}/2015-03-31/functions/hello/invocations?Qualifier=live&a=%20b`,
    ]);
    assert.equal((JSON.parse(stdout) as { tenant?: string }).tenant, 'alice', stdout);
  });

  test("botocore is its tenant's", async (context) => {
    const hasBotocore = await run(python, ['-c', 'import botocore']).then(
      () => true,
      () => false,
    );
    if (!hasBotocore) return context.skip('needs python3-botocore');
    await using fixture = await openFixture();
    await using server = await serve(fixture.authenticator);
    const program = `
import sys, urllib.request
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
url, key, secret = sys.argv[1:]
request = AWSRequest('PUT', url, data=b'{"x": [1]}', headers={'X-Amz-Client-Context': 'e30=', 'Content-Type': 'a  b'})
SigV4Auth(Credentials(key, secret), 'lambda', '${region}').add_auth(request)
sent = urllib.request.Request(url, data=request.data, headers=dict(request.headers), method='PUT')
print(urllib.request.urlopen(sent).read().decode())
`;
    const { accessKeyId, secretAccessKey } = fixture.key;
    const url = `${server.url}/2015-03-31/functions/arn%3Aaws%3Alambda/x~y?b=2&a=1&a=0&e=`;
    const { stdout } = await run(python, ['-c', program, url, accessKeyId, secretAccessKey]);
    assert.equal((JSON.parse(stdout) as { tenant?: string }).tenant, 'alice', stdout);
  });
});

describe('a request is refused', () => {
  const nowMs = Date.UTC(2026, 10, 23, 12, 0, 0);
  const clock: Clock = { ...systemClock, nowMs: () => nowMs };

  test('whatever is changed in it after it was signed', async () => {
    await using fixture = await openFixture(clock);
    const headers = { 'x-amz-client-context': 'e30=', 'content-type': 'application/json' };
    const original = signed({ ...invocation, headers }, fixture.key, { ms: nowMs });
    assert.equal((await fixture.authenticator.authenticate(original)).tenant, 'alice');
    const textChange = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 93 }));
    /** Another printable character in place of the one at a position. */
    const changed = (text: string, [position, by]: [number, number]): string => {
      const at = position % text.length;
      const code = 33 + ((text.charCodeAt(at) - 33 + by) % 94);
      return text.slice(0, at) + String.fromCharCode(code) + text.slice(at + 1);
    };
    const parts = fc.constantFrom('method', 'url', 'body', ...Object.keys(original.headers));
    await fc.assert(
      fc.asyncProperty(parts, textChange, async (part, change) => {
        const other = { ...original, headers: { ...original.headers } as Record<string, string> };
        if (part === 'method') other.method = changed(original.method, change);
        else if (part === 'body')
          other.bodyDigestHex = async () => sha256Hex(changed(invocation.body, change));
        else if (part === 'url') other.url = changed(original.url, change);
        else other.headers[part] = changed(other.headers[part] ?? '', change);
        const isSame = part !== 'body' && JSON.stringify(other) === JSON.stringify(original);
        const answer = await refusalOf(fixture.authenticator.authenticate(other));
        if (!isSame) assert.notEqual(answer, 'let in', JSON.stringify(other));
      }),
      { numRuns: 500 },
    );
  });

  test('when its URL leads elsewhere than the one that was signed, in other words', async () => {
    await using fixture = await openFixture(clock);
    const of = async (signedUrl: string, sentUrl: string): Promise<string> => {
      const request = signed({ ...invocation, url: signedUrl }, fixture.key, { ms: nowMs });
      return await refusalOf(fixture.authenticator.authenticate({ ...request, url: sentUrl }));
    };
    assert.equal(await of('/url/f/x?a=%2B&b=1', '/url/f/x?b=1&a=%2B'), 'let in');
    for (const [signedUrl, sentUrl] of [
      ['/url/f/x', '/url/other/../f/x'],
      ['/url/f/x', '/url/f/./x'],
      ['/url/f/x?a=%2B', '/url/f/x?a=+'],
      ['/url/f/x?a=1', '/url/f/x?a=1&__proto__=2'],
    ] as const) {
      assert.match(await of(signedUrl, sentUrl), /^InvalidSignatureException/, sentUrl);
    }
    assert.equal(await of('/url/f?constructor=1', '/url/f?constructor=1'), 'let in');
  });

  test('when its clock is more than five minutes off, either way', async () => {
    await using fixture = await openFixture(clock);
    const at = (ms: number) =>
      refusalOf(fixture.authenticator.authenticate(signed(invocation, fixture.key, { ms })));
    assert.equal(await at(nowMs - clockSkewMaxMs), 'let in');
    assert.equal(await at(nowMs + clockSkewMaxMs), 'let in');
    assert.equal(
      await at(nowMs - clockSkewMaxMs - 1000),
      'InvalidSignatureException: Signature expired: 20261123T115459Z is now earlier than 20261123T115500Z (20261123T120000Z - 5 min.)',
    );
    assert.equal(
      await at(nowMs + clockSkewMaxMs + 1000),
      'InvalidSignatureException: Signature not yet current: 20261123T120501Z is still later than 20261123T120500Z (20261123T120000Z + 5 min.)',
    );
  });

  test('when it is signed for another region or service', async () => {
    await using fixture = await openFixture(clock);
    const scoped = (scope: { region?: string; service?: string }) => {
      const request = signed(invocation, fixture.key, { ms: nowMs, ...scope });
      return refusalOf(fixture.authenticator.authenticate(request));
    };
    assert.match(await scoped({ region: 'us-east-1' }), /^InvalidSig.*scoped to a valid region/);
    assert.match(await scoped({ service: 's3' }), /^InvalidSig.*correct service: 'lambda'/);
  });

  test('when its key is unknown, was removed, or comes with a session token', async () => {
    await using fixture = await openFixture(clock);
    const { accessKeys, authenticator, catalog, key } = fixture;
    const attempt = (by: NewAccessKey, headers: Record<string, string> = {}) =>
      refusalOf(authenticator.authenticate(signed({ ...invocation, headers }, by, { ms: nowMs })));
    const refused =
      'UnrecognizedClientException: The security token included in the request is invalid.';
    assert.equal(await attempt({ ...key, accessKeyId: 'AKIAAAAAAAAAAAAAAAAA' }), refused);
    assert.equal(await attempt(key, { 'x-amz-security-token': 'abc' }), refused);
    const other = await accessKeys.create('alice');
    assert.equal(await attempt(other), 'let in');
    await catalog.removeAccessKey('alice', other.accessKeyId);
    assert.equal(await attempt(other), refused);
    assert.equal(await attempt(key), 'let in');
  });

  test('when it carries the id of one key and the signature of another', async () => {
    await using fixture = await openFixture(clock);
    await fixture.catalog.addTenant({ name: 'mallory', createdAtMs: 1 });
    const mallory = await fixture.accessKeys.create('mallory');
    const forged = { ...mallory, accessKeyId: fixture.key.accessKeyId };
    const request = signed(invocation, forged, { ms: nowMs });
    assert.match(
      await refusalOf(fixture.authenticator.authenticate(request)),
      /^InvalidSignatureException: The request signature we calculated does not match/,
    );
  });

  test('when it leaves a header of Amazon unsigned, the host, or all', async () => {
    await using fixture = await openFixture(clock);
    const request = signed(invocation, fixture.key, { ms: nowMs });
    const attempt = (headers: SignedRequest['headers']) =>
      refusalOf(fixture.authenticator.authenticate({ ...request, headers }));
    const added = { ...request.headers, 'x-amz-client-context': 'e30=' };
    assert.match(await attempt(added), /^IncompleteSig.*'x-amz-client-context' must be/);
    assert.match(await attempt({}), /^MissingAuthenticationTokenException: Missing/);
    const authorization = String(request.headers['authorization']);
    const without = (name: string): string =>
      authorization.replace(/SignedHeaders=[^,]+/, (list) =>
        list.replace(new RegExp(`\\b${name};?`), '').replace(/;$/, ''),
      );
    const hostless = { ...request.headers, authorization: without('host') };
    assert.match(await attempt(hostless), /^IncompleteSig.*'host' must be/);
  });

  test('in one of the forms above and never by a crash, whatever the headers hold', async () => {
    await using fixture = await openFixture(clock);
    const word = fc.oneof(
      fc.string({ maxLength: 40 }),
      fc.constantFrom('AWS4-HMAC-SHA256 ', 'Credential=', 'SignedHeaders=host', 'Signature=', ', '),
    );
    const text = fc.array(word, { maxLength: 8 }).map((words) => words.join(''));
    await fc.assert(
      fc.asyncProperty(text, text, fc.string(), async (authorization, date, url) => {
        const headers = { authorization, 'x-amz-date': date, host: 'x' };
        const attempt = fixture.authenticator.authenticate({
          method: 'POST',
          url,
          headers,
          bodyDigestHex: async () => sha256Hex(''),
        });
        assert.notEqual(await refusalOf(attempt), 'let in');
      }),
      { numRuns: 300 },
    );
  });
});

describe('an access key', () => {
  test('has a secret that neither the catalog nor its file holds', async () => {
    await using fixture = await openFixture();
    const [record] = await fixture.catalog.listAccessKeys('alice');
    assert.ok(record !== undefined);
    const secret = Buffer.from(fixture.key.secretAccessKey, 'base64');
    assert.equal(Buffer.from(record.wrappedSecret).indexOf(secret.subarray(0, 8)), -1);
    assert.match(fixture.key.accessKeyId, /^AKIA[A-Z2-7]{16}$/);
    assert.match(fixture.key.secretAccessKey, /^[A-Za-z0-9+/]{40}$/);
  });

  test('cannot be made for a tenant that there is not', async () => {
    await using fixture = await openFixture();
    await assert.rejects(fixture.accessKeys.create('nobody'), {
      code: 'ERR_CATALOG_NO_SUCH_TENANT',
    });
  });
});
