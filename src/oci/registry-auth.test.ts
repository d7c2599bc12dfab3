import assert from 'node:assert/strict';
import { mkdtemp, mkdtempDisposable, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import fc from 'fast-check';

import { startFaultProxy } from '../../test/support/fault-proxy.ts';
import { serveLocally } from '../../test/support/local-server.ts';
import { OciLayoutWriter, writeOciLayout } from '../../test/support/oci-layout.ts';
import { registryMissing, startRegistry } from '../../test/support/registry.ts';
import { buildTar } from '../../test/support/tar-builder.ts';
import { systemClock } from '../base/index.ts';
import { openImage, parsePlatform, type OpenImageOptions, type Timing } from './index.ts';
import { parseChallenges } from './registry-auth.ts';
import { readImage } from './testing/image-contents.ts';

const platform = parsePlatform('linux/amd64');
const tar = buildTar([{ path: 'file', content: 'contents' }]);
const credentials = { username: 'thaw', password: 'pass:wörd' };

function optionsWith(extra: OpenImageOptions = {}): OpenImageOptions {
  const timing: Timing = { clock: systemClock, random: () => 0, sleep: async () => {} };
  return { platform, plainHttp: true, dockerConfigPath: '/nonexistent', timing, ...extra };
}

test('parseChallenges() understands several challenges, quotes and escapes', () => {
  const header =
    'Bearer realm="https://a/token?x=\\"1,2\\"",service=s , Basic realm="r", Negotiate';
  assert.deepEqual(
    parseChallenges(header).map(({ scheme, parameters }) => [scheme, ...parameters]),
    [
      ['bearer', ['realm', 'https://a/token?x="1,2"'], ['service', 's']],
      ['basic', ['realm', 'r']],
      ['negotiate'],
    ],
  );
});

test('parseChallenges() survives any header', () => {
  fc.assert(fc.property(fc.string(), (header) => void parseChallenges(header)));
  assert.equal(parseChallenges(`Bearer ${'a="'.repeat(5000)}`)[0]?.scheme, 'bearer');
});

for (const login of ['basic', 'token'] as const) {
  describe(`a registry with ${login} login`, { skip: registryMissing }, () => {
    let registry: Awaited<ReturnType<typeof startRegistry>>;
    let layout: string;
    let reference: string;

    before(async () => {
      layout = await mkdtemp(join(tmpdir(), 'thaw-oci-'));
      await writeOciLayout(layout, { layers: [{ tar }], platform });
      registry = await startRegistry({ credentials, login });
      await registry.push(`oci:${layout}`, 'private/image:v1');
      reference = `docker://${registry.host}/private/image:v1`;
    });

    after(async () => {
      await registry.stop();
      await rm(layout, { recursive: true, force: true });
    });

    test('takes the credentials given', async () => {
      const contents = await readImage(reference, optionsWith({ credentials }));
      assert.deepEqual(contents.tars, [tar]);
    });

    test('takes the credentials of a docker config file', async () => {
      const { username, password } = credentials;
      const auth = Buffer.from(`${username}:${password}`).toString('base64');
      const dockerConfigPath = join(layout, 'config.json');
      await writeFile(dockerConfigPath, JSON.stringify({ auths: { [registry.host]: { auth } } }));
      const contents = await readImage(reference, optionsWith({ dockerConfigPath }));
      assert.deepEqual(contents.tars, [tar]);
    });

    test('refuses wrong and missing credentials: ERR_OCI_UNAUTHORIZED, without the password', async () => {
      const wrong = { username: 'thaw', password: 'hunter2' };
      for (const options of [optionsWith(), optionsWith({ credentials: wrong })]) {
        await assert.rejects(
          openImage(reference, options),
          (thrown: Error & { code?: string }) =>
            thrown.code === 'ERR_OCI_UNAUTHORIZED' && !thrown.message.includes('hunter2'),
        );
      }
    });
  });
}

test(
  'one token serves a whole image, also for layers opened at the same time',
  { skip: registryMissing },
  async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'thaw-oci-'));
    const layers = ['a', 'b', 'c', 'd'].map((content) => ({
      tar: buildTar([{ path: 'file', content }]),
    }));
    await writeOciLayout(dir.path, { layers, platform });
    await using registry = await startRegistry({ credentials, login: 'token' });
    await registry.push(`oci:${dir.path}`, 'image:v1');
    const before = registry.tokenServer?.issuedCount ?? 0;
    const reference = `docker://${registry.host}/image:v1`;
    await using image = await openImage(reference, optionsWith({ credentials }));
    const tars = await Promise.all(image.layers.map((layer) => image.openLayer(layer)));
    for (const opened of tars) await opened[Symbol.asyncDispose]();
    assert.equal(registry.tokenServer?.issuedCount, before + 1);
  },
);

/** A server of ours on loopback, which notes what comes. */
async function startServer(
  answer: (request: IncomingMessage, response: ServerResponse, body: string) => void,
) {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => answer(request, response, Buffer.concat(chunks).toString()));
  });
  return await serveLocally(server);
}

/** A layout served as a registry would, as far as a pull goes; `guard` answers first if it likes to. */
async function serveLayout(
  dir: string,
  guard: (request: IncomingMessage, response: ServerResponse) => boolean,
) {
  const writer = await OciLayoutWriter.open(dir);
  const { descriptor } = await writer.addImage({ layers: [{ tar }], platform });
  return await startServer((request, response) => {
    if (guard(request, response)) return;
    const name = (request.url ?? '').split('/').at(-1) ?? '';
    const digest = name === 'v1' ? descriptor.digest : name;
    response.setHeader('content-type', 'application/octet-stream');
    if (request.url?.includes('/manifests/')) {
      response.setHeader('content-type', descriptor.mediaType);
    }
    import('node:fs')
      .then(({ createReadStream }) => createReadStream(writer.blobPath(digest)).pipe(response))
      .catch(() => response.destroy());
  });
}

/** Demands the token that `valid` says at that moment, naming `realm`. */
function demandToken(realm: () => string, valid: () => string) {
  return (request: IncomingMessage, response: ServerResponse): boolean => {
    if (request.headers.authorization === `Bearer ${valid()}`) return false;
    const challenge = `Bearer realm="${realm()}",service="registry",scope="repository:image:pull"`;
    response.writeHead(401, { 'www-authenticate': challenge }).end('{}');
    return true;
  };
}

test('a token that expires in the middle of an image is renewed', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'thaw-oci-'));
  let issued = 0;
  await using tokens = await startServer((request, response) => {
    assert.match(request.url ?? '', /service=registry&scope=repository%3Aimage%3Apull/);
    assert.equal(request.headers.authorization, undefined);
    issued += 1;
    response.end(JSON.stringify({ access_token: `t${issued}`, expires_in: 300 }));
  });
  let served = 0;
  const demand = demandToken(
    () => `http://${tokens.host}/token`,
    () => (served < 2 ? 't1' : 't2'),
  );
  await using registry = await serveLayout(dir.path, (request, response) => {
    const isRefused = demand(request, response);
    if (!isRefused) served += 1;
    return isRefused;
  });
  const contents = await readImage(`docker://${registry.host}/image:v1`, optionsWith());
  assert.deepEqual(contents.tars, [tar]);
  assert.equal(issued, 2);
});

test('a token is renewed before its stated life is over, without being refused first', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'thaw-oci-'));
  let issued = 0;
  let refused = 0;
  let nowMs = 0;
  await using tokens = await startServer((_, response) => {
    issued += 1;
    response.end(JSON.stringify({ token: `t${issued}`, expires_in: 100 }));
  });
  const demand = demandToken(
    () => `http://${tokens.host}/token`,
    () => `t${issued}`,
  );
  await using registry = await serveLayout(dir.path, (request, response) => {
    const isRefused = demand(request, response);
    if (isRefused && request.headers.authorization !== undefined) refused += 1;
    return isRefused;
  });
  const clock = { nowMs: () => nowMs, monotonicMs: () => nowMs };
  const timing: Timing = { clock, random: () => 0, sleep: async () => {} };
  const reference = `docker://${registry.host}/image:v1`;
  await using image = await openImage(reference, optionsWith({ timing }));
  nowMs = 95_000;
  await using _tar = await image.openLayer(image.layers[0] ?? assert.fail());
  assert.deepEqual({ issued, refused }, { issued: 2, refused: 0 });
});

test('an identity token is exchanged by OAuth2, and is not in any address', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'thaw-oci-'));
  const forms: string[] = [];
  await using tokens = await startServer((request, response, body) => {
    assert.equal(`${request.method} ${request.url}`, 'POST /token');
    forms.push(body);
    response.end(JSON.stringify({ access_token: 'short' }));
  });
  await using registry = await serveLayout(
    dir.path,
    demandToken(
      () => `http://${tokens.host}/token`,
      () => 'short',
    ),
  );
  const dockerConfigPath = join(dir.path, 'config.json');
  const auths = { [registry.host]: { auth: '', identitytoken: 'long' } };
  await writeFile(dockerConfigPath, JSON.stringify({ auths }));
  await readImage(`docker://${registry.host}/image:v1`, optionsWith({ dockerConfigPath }));
  assert.equal(forms.length, 1);
  assert.deepEqual(Object.fromEntries(new URLSearchParams(forms[0])), {
    grant_type: 'refresh_token',
    client_id: 'thaw',
    refresh_token: 'long',
    service: 'registry',
    scope: 'repository:image:pull',
  });
});

test('a redirect to another host carries no credentials', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'thaw-oci-'));
  await using storage = await serveLayout(dir.path, () => false);
  await using watched = await startFaultProxy(storage.host, () => undefined);
  const expected = `Basic ${Buffer.from('thaw:pass:wörd').toString('base64')}`;
  await using registry = await serveLayout(dir.path, (request, response) => {
    if (request.headers.authorization !== expected) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end();
      return true;
    }
    if (!request.url?.includes('/blobs/')) return false;
    response.writeHead(307, { location: `http://${watched.host}${request.url}` }).end();
    return true;
  });
  const reference = `docker://${registry.host}/image:v1`;
  const contents = await readImage(reference, optionsWith({ credentials }));
  assert.deepEqual(contents.tars, [tar]);
  assert.equal(watched.requests.length, 2);
  for (const { headers } of watched.requests) assert.equal(headers.authorization, undefined);
});

for (const [what, status, body, code] of [
  ['refuses', 401, '', 'ERR_OCI_UNAUTHORIZED'],
  ['fails', 500, '', 'ERR_OCI_REGISTRY_FAILED'],
  ['talks nonsense', 200, '<html>', 'ERR_OCI_REGISTRY_FAILED'],
  ['gives no token', 200, '{"token":7}', 'ERR_OCI_REGISTRY_FAILED'],
  ['gives a token with a line break', 200, '{"token":"a\\r\\nb"}', 'ERR_OCI_REGISTRY_FAILED'],
  ['gives a token that the registry refuses', 200, '{"token":"x"}', 'ERR_OCI_UNAUTHORIZED'],
] as const) {
  test(`a token server that ${what} ends in ${code}`, async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'thaw-oci-'));
    await using tokens = await startServer((_, response) => {
      response.writeHead(status).end(body);
    });
    await using registry = await serveLayout(
      dir.path,
      demandToken(
        () => `http://${tokens.host}/token`,
        () => 'right',
      ),
    );
    const opening = openImage(`docker://${registry.host}/image:v1`, optionsWith());
    await assert.rejects(opening, { code });
  });
}

for (const challenge of ['', 'Digest realm="x"', 'Bearer realm="not an address"', 'Bearer']) {
  test(`a challenge that cannot be met is named as the registry's fault: "${challenge}"`, async () => {
    await using registry = await startServer((_, response) => {
      response.writeHead(401, { 'www-authenticate': challenge }).end();
    });
    const opening = openImage(`docker://${registry.host}/image:v1`, optionsWith({ credentials }));
    await assert.rejects(opening, { code: 'ERR_OCI_REGISTRY_FAILED' });
  });
}
