import assert from 'node:assert/strict';
import { test } from 'node:test';

import { detectCgroups, missingControllers } from './cgroups.ts';

const version1 = (name: string): string =>
  `35 31 0:32 / /sys/fs/cgroup/${name} rw,relatime shared:9 - cgroup cgroup rw,${name}`;
const version2 = (path: string): string =>
  `41 31 0:38 / ${path} rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate`;

test('detectCgroups tells the layouts apart by what is mounted', () => {
  const kindOf = (...lines: string[]): string => detectCgroups(lines.join('\n')).kind;
  assert.equal(kindOf(version1('memory'), version1('cpu,cpuacct')), 'legacy');
  assert.equal(kindOf(version1('memory'), version2('/nowhere/unified')), 'hybrid');
  assert.equal(kindOf(version2('/nowhere')), 'unified');
  assert.equal(kindOf('22 1 254:0 / / rw - ext4 /dev/vda rw'), 'none');
});

test('missingControllers names what no mounted hierarchy offers', () => {
  const layout = detectCgroups([version1('memory'), version1('cpu,cpuacct')].join('\n'));
  assert.deepEqual(missingControllers(layout), ['pids']);
  assert.deepEqual(missingControllers(detectCgroups('')), ['memory', 'cpu', 'pids']);
});

test('detectCgroups finds the layout of this machine', () => {
  assert.notEqual(detectCgroups().kind, 'none');
});
