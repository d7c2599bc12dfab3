import assert from 'node:assert/strict';
import { mkdtempDisposable } from 'node:fs/promises';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';

import { makeCertificate } from '../../test/support/certificate.ts';
import { serveLocally } from '../../test/support/local-server.ts';
import { needsPrograms } from '../../test/support/programs.ts';
import { errorCode } from '../base/index.ts';
import { HttpClient, type HttpClientOptions } from './http-client.ts';

function clientWith(extra: Partial<HttpClientOptions> = {}): HttpClient {
  return new HttpClient({
    where: 'the registry',
    stallTimeoutMs: 10_000,
    isPlainHttpAllowed: false,
    signal: new AbortController().signal,
    ...extra,
  });
}

function get(client: HttpClient, url: string) {
  return client.send({ url: new URL(url), headers: { authorization: 'Basic c2VjcmV0' } });
}

/** An HTTPS server whose certificate this process trusts, or does not. */
async function withTls(
  isTrusted: boolean,
  listener: RequestListener,
  work: (host: string) => Promise<void>,
): Promise<void> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'thaw-oci-'));
  const { key, certificate } = await makeCertificate(dir.path);
  const usual = getCACertificates('default');
  if (isTrusted) setDefaultCACertificates([...usual, certificate]);
  try {
    await using server = await serveLocally(
      createHttpsServer({ key, cert: certificate }, listener),
    );
    await work(server.host);
  } finally {
    setDefaultCACertificates(usual);
  }
}

describe('over TLS', { skip: needsPrograms('openssl') }, () => {
  test('HttpClient talks to a server whose certificate is trusted', async () => {
    const listener: RequestListener = (_, response) => response.end('hello');
    await withTls(true, listener, async (host) => {
      const response = await get(clientWith(), `https://${host}/`);
      assert.equal(Buffer.from(await response.bytes('it', 100)).toString(), 'hello');
    });
  });

  test('HttpClient refuses a certificate that is not trusted, for good', async () => {
    const listener: RequestListener = (_, response) => response.end('hello');
    await withTls(false, listener, async (host) => {
      const refusal = { code: 'ERR_OCI_REGISTRY_UNREACHABLE', retryable: false };
      await assert.rejects(get(clientWith(), `https://${host}/`), refusal);
    });
  });

  test('HttpClient does not follow a redirect from HTTPS to HTTP', async () => {
    let asked = 0;
    const elsewhere = createHttpServer((_, response) => {
      asked += 1;
      response.end();
    });
    await using plain = await serveLocally(elsewhere);
    const listener: RequestListener = (_, response) => {
      response.writeHead(302, { location: `http://${plain.host}/` }).end();
    };
    await withTls(true, listener, async (host) => {
      const refusal = { code: 'ERR_OCI_REGISTRY_FAILED', message: /not encrypted/ };
      await assert.rejects(get(clientWith(), `https://${host}/`), refusal);
    });
    assert.equal(asked, 0);
  });
});

test('HttpClient refuses plain HTTP that was not allowed, without a connection', async () => {
  const refusal = { code: 'ERR_OCI_REGISTRY_FAILED', retryable: false };
  await assert.rejects(get(clientWith(), 'http://127.0.0.1:9/'), refusal);
});

test('HttpClient keeps credentials on redirects within a host, and drops them for good outside', async () => {
  const seen: (string | undefined)[] = [];
  let firstHost = '';
  await using second = await serveLocally(
    createHttpServer((request, response) => {
      seen.push(`second ${request.headers.authorization}`);
      response.writeHead(307, { location: `http://${firstHost}/end` }).end();
    }),
  );
  await using first = await serveLocally(
    createHttpServer((request, response) => {
      seen.push(`first ${request.headers.authorization}`);
      const location = request.url === '/' ? '/next' : `http://${second.host}/`;
      if (request.url === '/end') response.end();
      else response.writeHead(302, { location }).end();
    }),
  );
  firstHost = first.host;
  const response = await get(clientWith({ isPlainHttpAllowed: true }), `http://${first.host}/`);
  response.discard();
  assert.equal(response.isElsewhere, true);
  assert.deepEqual(seen, [
    'first Basic c2VjcmV0',
    'first Basic c2VjcmV0',
    'second undefined',
    'first undefined',
  ]);
});

test('HttpClient gives up a server that trickles, but not one whose reader takes its time', async () => {
  await using server = await serveLocally(
    createHttpServer((request, response) => {
      if (request.url === '/burst') {
        response.end(Buffer.alloc(200_000));
        return;
      }
      const timer = setInterval(() => response.write('.'), 20);
      response.on('close', () => clearInterval(timer));
    }),
  );
  const client = clientWith({ isPlainHttpAllowed: true, stallTimeoutMs: 1000 });
  const trickle = await get(client, `http://${server.host}/trickle`);
  await assert.rejects(trickle.bytes('it', 1e6), {
    code: 'ERR_OCI_REGISTRY_UNREACHABLE',
    retryable: true,
  });
  const burst = await get(client, `http://${server.host}/burst`);
  let receivedBytes = 0;
  for await (const chunk of burst.chunks()) {
    if (receivedBytes === 0) await new Promise((resolve) => setTimeout(resolve, 1500));
    receivedBytes += chunk.byteLength;
  }
  assert.equal(receivedBytes, 200_000);
});

test('HttpClient does not give up a download that is slow but steady', async () => {
  await using server = await serveLocally(
    createHttpServer((_, response) => {
      let left = 75;
      const timer = setInterval(() => {
        response.write(Buffer.alloc(20_000));
        left -= 1;
        if (left > 0) return;
        clearInterval(timer);
        response.end();
      }, 20);
    }),
  );
  const client = clientWith({ isPlainHttpAllowed: true, stallTimeoutMs: 1000 });
  const response = await get(client, `http://${server.host}/`);
  assert.equal((await response.bytes('it', 1e7)).byteLength, 1_500_000);
});

test('HttpClient asks for the bytes as they are stored', async () => {
  await using server = await serveLocally(
    createHttpServer((request, response) => response.end(request.headers['accept-encoding'])),
  );
  const response = await get(clientWith({ isPlainHttpAllowed: true }), `http://${server.host}/`);
  assert.equal(Buffer.from(await response.bytes('it', 100)).toString(), 'identity');
});

test('HttpClient ends a body that is larger than its limit', async () => {
  await using server = await serveLocally(
    createHttpServer((_, response) => response.end(Buffer.alloc(5000))),
  );
  const response = await get(clientWith({ isPlainHttpAllowed: true }), `http://${server.host}/`);
  const reading = response.bytes('it', 4999);
  assert.equal(errorCode(await reading.catch((thrown: unknown) => thrown)), 'ERR_OCI_TOO_LARGE');
});
