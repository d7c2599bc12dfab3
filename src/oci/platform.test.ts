import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { formatPlatform, hostPlatform, parsePlatform, platformDistance } from './platform.ts';

test('parsePlatform() and formatPlatform() are inverse for platforms with and without a variant', () => {
  const name = fc.constantFrom('linux', 'windows', 'amd64', 'arm64', 's390x', 'v8', 'ppc64le');
  fc.assert(
    fc.property(fc.array(name, { minLength: 2, maxLength: 3 }), (parts) => {
      assert.equal(formatPlatform(parsePlatform(parts.join('/'))), parts.join('/'));
    }),
  );
});

test('parsePlatform() understands the kernel’s names of architectures', () => {
  assert.deepEqual(parsePlatform('linux/x86_64'), { os: 'linux', architecture: 'amd64' });
  assert.deepEqual(parsePlatform('Linux/aarch64'), { os: 'linux', architecture: 'arm64' });
});

for (const text of ['', 'linux', 'linux/', '/amd64', 'linux/amd64/', 'a/b/c/d', 'linux/a b']) {
  test(`parsePlatform() refuses "${text}"`, () => {
    assert.throws(() => parsePlatform(text), { code: 'ERR_OCI_BAD_PLATFORM' });
  });
}

test('hostPlatform() is a platform that this machine runs', () => {
  const host = hostPlatform();
  assert.equal(host.os, process.platform);
  assert.deepEqual(parsePlatform(formatPlatform(host)), host);
  assert.equal(platformDistance(host, host), 0);
});

const distances: readonly (readonly [
  wanted: string,
  offered: string,
  distance: number | undefined,
])[] = [
  ['linux/amd64', 'linux/amd64', 0],
  ['linux/amd64', 'linux/amd64/v1', 0],
  ['linux/amd64', 'linux/amd64/v3', undefined],
  ['linux/amd64/v3', 'linux/amd64', 2],
  ['linux/amd64', 'linux/arm64', undefined],
  ['linux/amd64', 'windows/amd64', undefined],
  ['linux/arm64', 'linux/arm64/v8', 0],
  ['linux/arm64/v8', 'linux/arm64', 0],
  ['linux/arm64/8', 'linux/arm64/v8', 0],
  ['linux/arm/v7', 'linux/arm', 0],
  ['linux/arm/v7', 'linux/arm/v6', 1],
  ['linux/arm/v6', 'linux/arm/v7', undefined],
  ['linux/mips64le/odd', 'linux/mips64le/odd', 0],
  ['linux/mips64le/odd', 'linux/mips64le/other', undefined],
];

for (const [wanted, offered, distance] of distances) {
  const verdict = distance === undefined ? 'does not run' : `is ${distance} variants away`;
  test(`platformDistance(): ${offered} ${verdict} where ${wanted} is wanted`, () => {
    assert.equal(platformDistance(parsePlatform(wanted), parsePlatform(offered)), distance);
  });
}
