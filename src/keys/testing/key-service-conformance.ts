/** What every `KeyService` must do. Run it from the test file of each. */

import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { inspect } from 'node:util';

import type { KeyService } from '../key-service.ts';

export interface KeyServiceConformance {
  /** Of the suite in the report. */
  readonly name: string;
  /** A service without tenants and salts, disposed of with its resources after the test. */
  readonly create: () => Promise<{ readonly service: KeyService } & AsyncDisposable>;
}

const context = { purpose: 'test', root: 'root-1' };
const refused = { code: 'ERR_KEYS_UNWRAP_REFUSED' };

function testDataKeys({ create }: KeyServiceConformance): void {
  test('a data key unwraps to what was generated, with the same tenant and context', async () => {
    await using made = await create();
    const { plaintext, wrapped } = await made.service.generateDataKey('tenant', context);
    assert.equal(plaintext.byteLength, 32);
    assert.ok(wrapped.byteLength >= 1 && wrapped.byteLength <= 512);
    const reordered = { root: 'root-1', purpose: 'test' };
    for (const same of [context, reordered]) {
      const unwrapped = await made.service.unwrapDataKey('tenant', wrapped, same);
      assert.deepEqual(Buffer.from(unwrapped), Buffer.from(plaintext));
    }
  });

  test('every data key is another, and so is what wraps it', async () => {
    await using made = await create();
    const keys = await Promise.all(
      Array.from({ length: 10 }, () => made.service.generateDataKey('tenant', context)),
    );
    for (const part of ['plaintext', 'wrapped'] as const) {
      assert.equal(new Set(keys.map((key) => Buffer.from(key[part]).toString('hex'))).size, 10);
    }
  });

  test('overwriting a data key with zeros changes no other', async () => {
    await using made = await create();
    const { plaintext, wrapped } = await made.service.generateDataKey('tenant', context);
    const expected = Buffer.from(plaintext);
    plaintext.fill(0);
    const unwrapped = await made.service.unwrapDataKey('tenant', wrapped, context);
    assert.deepEqual(Buffer.from(unwrapped), expected);
    unwrapped.fill(0);
    const again = await made.service.unwrapDataKey('tenant', wrapped, context);
    assert.deepEqual(Buffer.from(again), expected);
  });

  test('a data key of another tenant or context is refused', async () => {
    await using made = await create();
    const { wrapped } = await made.service.generateDataKey('tenant', context);
    await made.service.generateDataKey('other', context);
    for (const tenant of ['other', 'nobody', 'tenan', 'tenant ']) {
      await assert.rejects(made.service.unwrapDataKey(tenant, wrapped, context), refused, tenant);
    }
    for (const wrong of [
      {},
      { purpose: 'test' },
      { purpose: 'test', root: 'root-2' },
      { purpose: 'root-1', root: 'test' },
      { ...context, more: '' },
    ]) {
      const name = JSON.stringify(wrong);
      await assert.rejects(made.service.unwrapDataKey('tenant', wrapped, wrong), refused, name);
    }
  });

  test('wrapped bytes that were changed, cut or made up are refused', async () => {
    await using made = await create();
    const { wrapped } = await made.service.generateDataKey('tenant', context);
    const changed = Array.from(wrapped, (byte, at) => {
      const copy = Buffer.from(wrapped);
      copy[at] = byte ^ 0x01;
      return copy;
    });
    const cut = [
      wrapped.subarray(1),
      wrapped.subarray(0, -1),
      new Uint8Array(),
      new Uint8Array(61),
    ];
    for (const wrong of [...changed, ...cut]) {
      await assert.rejects(made.service.unwrapDataKey('tenant', wrong, context), refused);
    }
  });
}

function testSalts({ create }: KeyServiceConformance): void {
  test('a salt is 32 bytes, the same at every call and another for every root', async () => {
    await using made = await create();
    const one = await made.service.salt('root-1');
    assert.equal(one.byteLength, 32);
    const expected = Buffer.from(one);
    one.fill(0);
    assert.deepEqual(Buffer.from(await made.service.salt('root-1')), expected);
    assert.notDeepEqual(Buffer.from(await made.service.salt('root-2')), expected);
  });

  test('concurrent first calls for a root and for a tenant agree', async () => {
    await using made = await create();
    const salts = await Promise.all(Array.from({ length: 8 }, () => made.service.salt('root-1')));
    assert.equal(new Set(salts.map((salt) => Buffer.from(salt).toString('hex'))).size, 1);
    const keys = await Promise.all(
      Array.from({ length: 8 }, () => made.service.generateDataKey('tenant', context)),
    );
    for (const { plaintext, wrapped } of keys) {
      const unwrapped = await made.service.unwrapDataKey('tenant', wrapped, context);
      assert.deepEqual(Buffer.from(unwrapped), Buffer.from(plaintext));
    }
  });

  test('names that mean something to JavaScript are names like any other', async () => {
    await using made = await create();
    for (const name of ['__proto__', 'constructor', 'toString']) {
      const { plaintext, wrapped } = await made.service.generateDataKey(name, context);
      const unwrapped = await made.service.unwrapDataKey(name, wrapped, context);
      assert.deepEqual(Buffer.from(unwrapped), Buffer.from(plaintext));
      assert.equal((await made.service.salt(name)).byteLength, 32);
    }
  });
}

/** Every common way to write down 32 bytes. */
function spellings(secret: Uint8Array): readonly string[] {
  const bytes = Buffer.from(secret);
  return [
    bytes.toString('hex'),
    bytes.toString('base64'),
    bytes.toString('base64url'),
    bytes.toString('latin1'),
    [...bytes].join(','),
    [...bytes].join(', '),
    bytes
      .subarray(0, 8)
      .toString('hex')
      .replaceAll(/(..)(?=.)/g, '$1 '),
  ];
}

function testSecrecy({ create }: KeyServiceConformance): void {
  test('printing or serialising the service and its errors shows no secret', async () => {
    await using made = await create();
    const { plaintext, wrapped } = await made.service.generateDataKey('tenant', context);
    const salt = await made.service.salt('root-1');
    const thrown = await made.service
      .unwrapDataKey('tenant', wrapped.subarray(1), context)
      .catch((error: unknown) => error);
    const shown = [made.service, thrown]
      .flatMap((value) => [
        inspect(value, { depth: 10, showHidden: true, getters: true }),
        JSON.stringify(value),
      ])
      .join('\n');
    for (const spelling of [plaintext, salt].flatMap(spellings)) {
      assert.ok(!shown.includes(spelling));
    }
  });
}

export function keyServiceConformance(conformance: KeyServiceConformance): void {
  suite(`key service: ${conformance.name}`, () => {
    testDataKeys(conformance);
    testSalts(conformance);
    testSecrecy(conformance);
  });
}
