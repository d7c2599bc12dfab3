import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseZoneServer, zoneServerSettings, zoneServersProblem } from './zone-servers.ts';

const five = [1, 2, 3, 4, 5].map((number) => `memcached://cache${number}:11211`);

test('an address names a server by host and port, however it is written', () => {
  const plain = { weight: 1, usesTls: false };
  const addresses: [string, object][] = [
    ['memcached://cache1:11211', { ...plain, id: 'cache1:11211' }],
    ['memcached://Cache1', { ...plain, id: 'cache1:11211' }],
    ['memcached://10.0.0.1:9/?weight=2.5', { ...plain, id: '10.0.0.1:9', weight: 2.5 }],
    ['memcacheds://[FD00::1]:9', { ...plain, id: '[fd00::1]:9', usesTls: true }],
  ];
  for (const [address, expected] of addresses) assert.deepEqual(parseZoneServer(address), expected);
  assert.deepEqual(zoneServerSettings(['memcached://a:1'], 7), [
    { ...plain, id: 'a:1', fillBytesPerSecond: 7 },
  ]);
});

test('what is no address is refused with the reason, and without a password', () => {
  const refused: [unknown, RegExp][] = [
    ['memcached://cache1:11211', /^must be a list/],
    [[...five, 7], /^must be a list/],
    [[...five, 'cache6:11211'], /it starts neither/],
    [[...five, 'memcached://:11211'], /it is no URL|it names no host/],
    [[...five, 'redis://cache6'], /"redis:\/\/cache6" is not: it starts neither/],
    [[...five, 'memcached://u:secret@cache6'], /zone\.password_file/],
    [[...five, 'memcached://cache6?wieght=2'], /no option "wieght"/],
    [[...five, 'memcached://cache6?weight=0'], /weight is not above 0/],
    [[...five, 'memcached://cache6?weight=2#'], /weight is not above 0/],
    [[...five, 'memcached://secret@cache6'], /takes a user and a password/],
    [[...five, 'memcached://cache6:0'], /no port 0/],
    [[...five, 'memcached://cache6/7'], /nothing may follow the port/],
    [[...five, 'memcacheds://CACHE1'], /each once; "cache1:11211" is there twice/],
    [five.slice(1), /must be 5 servers or more/],
  ];
  for (const [addresses, says] of refused) {
    const problem = zoneServersProblem(addresses) ?? assert.fail(String(addresses));
    assert.match(problem, says);
    assert.doesNotMatch(problem, /secret/);
  }
  assert.equal(zoneServersProblem(five), undefined);
  assert.equal(zoneServersProblem([]), undefined);
});
