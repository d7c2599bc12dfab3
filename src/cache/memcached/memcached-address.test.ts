import assert from 'node:assert/strict';
import { test } from 'node:test';

import { errorMessage } from '../../base/index.ts';
import { memcachedServerId, parseMemcachedAddress } from './memcached-address.ts';

test('an address has a host and a port, and 11211 where it has none', () => {
  assert.deepEqual(parseMemcachedAddress('memcached://cache-1:11311'), {
    host: 'cache-1',
    port: 11_311,
  });
  assert.deepEqual(parseMemcachedAddress('memcached://192.0.2.1/'), {
    host: '192.0.2.1',
    port: 11_211,
  });
});

test('memcacheds is memcached over TLS', () => {
  assert.deepEqual(parseMemcachedAddress('memcacheds://cache-1'), {
    host: 'cache-1',
    port: 11_211,
    tls: {},
  });
});

test('user and password are percent-encoded', () => {
  const { auth } = parseMemcachedAddress('memcached://wor%40ker:p%3A%2F%25%C3%BC@cache-1');
  assert.deepEqual(auth, { user: 'wor@ker', password: 'p:/%ü' });
});

test('IPv6 addresses stand in brackets, in the id of the server too', () => {
  const address = parseMemcachedAddress('memcached://[2001:db8::1]:11311');
  assert.deepEqual(address, { host: '2001:db8::1', port: 11_311 });
  assert.equal(memcachedServerId(address), '[2001:db8::1]:11311');
});

test('the id of a server has no password in it', () => {
  const address = parseMemcachedAddress('memcacheds://worker:secret@cache-1:1');
  assert.equal(memcachedServerId(address), 'cache-1:1');
});

const wrong = [
  '',
  'cache-1:11211',
  'http://worker:secret@cache-1',
  'memcached://',
  'memcached://worker:secret@:11211',
  'memcached://worker:secret@cache-1:0',
  'memcached://worker:secret@cache-1:70000',
  'memcached://worker:secret@cache-1/path',
  'memcached://worker:secret@cache-1?x=1',
  'memcached://worker@cache-1',
  'memcached://:secret@cache-1',
  'memcached://worker:secret%20spaced@cache-1',
  'memcached://wor%20ker:secret@cache-1',
  'memcached://wor%3Aker:secret@cache-1',
  'memcached://worker:secret%0A@cache-1',
  'memcached://worker:secret%ff@cache-1',
  'memcached://worker:se/cret@cache-1',
  'memcached://worker:se@secret@[cache-1',
];

test('a port above 65535 is the reason of a refusal', () => {
  for (const text of ['memcached://a:99999', 'memcacheds://u:p@[::1]:65536/']) {
    assert.throws(() => parseMemcachedAddress(text), { message: /its port is above 65535/ });
  }
  assert.equal(parseMemcachedAddress('memcached://a:65535').port, 65_535);
  assert.equal(parseMemcachedAddress('memcached://[::ffff:99]').port, 11_211);
});

for (const text of wrong) {
  test(`"${text}" is refused, and its password not repeated`, () => {
    assert.throws(
      () => parseMemcachedAddress(text),
      (thrown: Error & { code?: string }) => {
        assert.equal(thrown.code, 'ERR_CACHE_SERVER_ADDRESS');
        assert.doesNotMatch(errorMessage(thrown), /se.?cret/);
        return true;
      },
    );
  });
}
