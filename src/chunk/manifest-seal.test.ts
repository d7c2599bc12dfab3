import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { openLocalKeyring, type KeyService } from '../keys/index.ts';
import { encodeManifest, manifestLock } from './manifest-codec.ts';
import { manifestHeaderRecord } from './manifest-layout.ts';
import { openManifest, sealManifest } from './manifest-seal.ts';
import { fullManifest } from './testing/sample-manifest.ts';

const manifest = fullManifest(3, Buffer.from('{"reference":"test"}'));

async function makeKeyring(): Promise<{ readonly keyService: KeyService } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-seal-'));
  const keyService = await openLocalKeyring(join(path, 'keyring.json'));
  return { keyService, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

test('openManifest() gives the tenant what sealManifest() was given', async () => {
  await using keyring = await makeKeyring();
  const { keyService } = keyring;
  const { bytes, manifestId } = await sealManifest(manifest, {
    tenant: 't',
    keyService,
    randomBytes,
  });
  assert.equal(manifestId, createHash('sha256').update(bytes).digest('hex'));
  const opened = await openManifest(bytes, { tenant: 't', keyService, manifestId });
  assert.deepEqual(
    opened.chunks.map(({ index }) => index),
    [0, 1, 2],
  );
  assert.deepEqual(
    opened.chunkKeys.map((key) => key[0]),
    [1, 2, 3],
  );
  assert.deepEqual(Buffer.from(opened.imageDocument), manifest.imageDocument);
});

test('openManifest() refuses bytes of another id', async () => {
  await using keyring = await makeKeyring();
  const { keyService } = keyring;
  const one = await sealManifest(manifest, { tenant: 't', keyService, randomBytes });
  const other = await sealManifest(manifest, { tenant: 't', keyService, randomBytes });
  assert.notEqual(one.manifestId, other.manifestId);
  const options = { tenant: 't', keyService, manifestId: other.manifestId };
  await assert.rejects(openManifest(one.bytes, options), { code: 'ERR_CHUNK_MANIFEST_ID' });
});

test('openManifest() refuses another tenant, and another keyring', async () => {
  await using keyring = await makeKeyring();
  await using elsewhere = await makeKeyring();
  const { keyService } = keyring;
  const { bytes } = await sealManifest(manifest, { tenant: 't', keyService, randomBytes });
  await keyService.generateDataKey('u', {});
  await elsewhere.keyService.generateDataKey('t', {});
  const code = 'ERR_KEYS_UNWRAP_REFUSED';
  await assert.rejects(openManifest(bytes, { tenant: 'u', keyService }), { code });
  await assert.rejects(openManifest(bytes, { tenant: 't', ...elsewhere }), { code });
});

test('openManifest() refuses a manifest moved to another root', async () => {
  await using keyring = await makeKeyring();
  const { keyService } = keyring;
  const { bytes } = await sealManifest(manifest, { tenant: 't', keyService, randomBytes });
  const rootIdAt = manifestHeaderRecord.rows.find(([, , name]) => name === 'root_id')?.[0] ?? 0;
  const moved = Buffer.from(bytes);
  moved.write('root-2', rootIdAt);
  assert.equal(manifestLock(moved).rootId, 'root-2');
  await assert.rejects(openManifest(moved, { tenant: 't', keyService }), {
    code: 'ERR_KEYS_UNWRAP_REFUSED',
  });
});

test('openManifest() refuses a manifest that carries the wrapped key of another', async () => {
  await using keyring = await makeKeyring();
  const { keyService } = keyring;
  const { bytes } = await sealManifest(manifest, { tenant: 't', keyService, randomBytes });
  const { wrappedKey } = manifestLock(bytes);
  const dataKey = { plaintext: randomBytes(32), wrapped: wrappedKey };
  const forged = encodeManifest(manifest, { dataKey, nonce: randomBytes(12) });
  await assert.rejects(openManifest(forged, { tenant: 't', keyService }), {
    code: 'ERR_CHUNK_MANIFEST_SEAL',
  });
});

test('sealManifest() and openManifest() leave no data key behind in memory that they were given', async () => {
  await using keyring = await makeKeyring();
  const given: Uint8Array[] = [];
  const remember = async (key: Promise<Uint8Array>): Promise<Uint8Array> => {
    given.push(await key);
    return key;
  };
  const keyService: KeyService = {
    generateDataKey: async (tenant, context) => {
      const dataKey = await keyring.keyService.generateDataKey(tenant, context);
      given.push(dataKey.plaintext);
      return dataKey;
    },
    unwrapDataKey: (...request) => remember(keyring.keyService.unwrapDataKey(...request)),
    salt: (rootId) => keyring.keyService.salt(rootId),
  };
  const { bytes } = await sealManifest(manifest, { tenant: 't', keyService, randomBytes });
  await openManifest(bytes, { tenant: 't', keyService });
  assert.equal(given.length, 2);
  assert.ok(given.every((key) => key.every((byte) => byte === 0)));
});
