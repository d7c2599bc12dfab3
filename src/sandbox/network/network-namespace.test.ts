import assert from 'node:assert/strict';
import { readlinkSync } from 'node:fs';
import { test } from 'node:test';

import { runCommand } from '../../base/index.ts';
import { createNetworkNamespace } from './network-namespace.ts';

const needsRoot = process.geteuid?.() === 0 ? false : 'needs root';

test(
  'createNetworkNamespace gives loopback that is up and nothing else',
  { skip: needsRoot },
  async () => {
    const network = createNetworkNamespace(9001);
    const { stdout } = await runCommand('nsenter', [
      `--net=${network.path}`,
      'cat',
      '/proc/net/dev',
    ]);
    const interfaces = [...stdout.matchAll(/^\s*(\S+):/gm)].map(([, name]) => name);
    assert.deepEqual(interfaces, ['lo']);
    const sockets = await runCommand('nsenter', [`--net=${network.path}`, 'cat', '/proc/net/tcp']);
    assert.match(sockets.stdout, /0100007F:2329 00000000:0000 0A/); // 127.0.0.1:9001 listens
    network.close();
  },
);

test('createNetworkNamespace leaves this process in its own network', { skip: needsRoot }, () => {
  const before = readlinkSync('/proc/self/ns/net');
  const first = createNetworkNamespace(9001);
  const second = createNetworkNamespace(9001); // the same port: another namespace
  assert.equal(readlinkSync('/proc/self/ns/net'), before);
  assert.equal(readlinkSync('/proc/thread-self/ns/net'), before);
  assert.notEqual(readlinkSync(first.path), readlinkSync(second.path));
  for (const network of [first, second]) {
    network.close();
  }
});

test(
  'createNetworkNamespace returns to its own network when listening fails',
  { skip: needsRoot },
  () => {
    const before = readlinkSync('/proc/thread-self/ns/net');
    assert.throws(() => createNetworkNamespace(-1));
    assert.equal(readlinkSync('/proc/thread-self/ns/net'), before);
  },
);
