/** The tiers of a worker as its administrator sees them: real cache servers, a real mount, the real commands. */

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';

import { present } from '../../src/base/index.ts';
import type { CacheStatus } from '../../src/cache/index.ts';
import {
  memcachedMissing,
  startMemcached,
  type Memcached,
} from '../../src/cache/testing/memcached.ts';
import { missingHere } from '../../src/device/testing/worker-fixture.ts';
import { needsPrograms } from '../support/programs.ts';
import { writeShellImage } from '../support/shell-image.ts';
import { Thaw, untilLogged } from '../support/thaw.ts';

const skip = missingHere() || memcachedMissing || needsPrograms('busybox');

class ConfiguredThaw extends Thaw {
  override start(...args: readonly string[]): ChildProcess {
    return super.start('--config', join(this.root, 'config.toml'), ...args);
  }

  async configure(servers: readonly Memcached[]): Promise<void> {
    const addresses = servers.map(({ address }) => `"memcached://${address.host}:${address.port}"`);
    await writeFile(
      join(this.root, 'config.toml'),
      `cache = { disk_bytes = 100000000 }\nzone = { servers = [${addresses.join(', ')}] }\n`,
    );
  }

  /** Runs a server until it is disposed of. */
  async serve(): Promise<AsyncDisposable> {
    const server = this.start('serve');
    const ended = once(server, 'exit');
    await untilLogged(server, ' serving ');
    return {
      [Symbol.asyncDispose]: async () => {
        server.kill('SIGTERM');
        await ended;
      },
    };
  }

  async metrics(): Promise<string> {
    const asked = request({ socketPath: join(this.root, 'run/serve.sock'), path: '/metrics' });
    asked.end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    return await text(response);
  }
}

test(
  'an administrator primes the zone, watches the tiers, changes the servers and empties caches',
  { skip },
  async () => {
    const root = await mkdtemp(join(tmpdir(), 'thaw-tiers-'));
    await using made = new AsyncDisposableStack();
    made.defer(() => rm(root, { recursive: true, maxRetries: 50, retryDelay: 100 }));
    const servers: Memcached[] = [];
    for (let count = 0; count < 6; count += 1) servers.push(made.use(await startMemcached()));
    const thaw = new ConfiguredThaw(root);
    const status = async (): Promise<CacheStatus> => await thaw.json('cache', 'status');
    await thaw.configure(servers.slice(0, 5));

    const source = await writeShellImage(join(root, 'layout'), 'x', 'echo');
    const { primed } = await thaw.json<{ primed: { chunks: number; failed: number } }>(
      'image',
      'convert',
      source,
      '--name',
      'x',
      '--prime',
    );
    assert.ok(primed.chunks > 2);
    assert.equal(primed.failed, 0);
    assert.deepEqual(await status(), { isRunning: false });

    made.use(await thaw.serve());
    const mountPoint = join(root, 'mnt');
    await mkdir(mountPoint);
    await thaw.json('image', 'mount', 'x', mountPoint);
    made.defer(async () => await thaw.json('image', 'umount', mountPoint));
    const [mounted, original] = await Promise.all(
      [join(mountPoint, 'bin/busybox'), '/bin/busybox'].map(async (path) => readFile(path)),
    );
    assert.ok(mounted?.equals(present(original, 'the original')));
    const metrics = await thaw.metrics();
    assert.match(metrics, /^thaw_agent_up 1$/m);
    assert.match(metrics, /^thaw_cache_reads_total\{tier="zone",outcome="hit"\} [1-9]/m);
    assert.match(metrics, /^thaw_cache_reads_total\{tier="zone",outcome="miss"\} 0$/m);
    const report = await thaw.run('cache', 'status');
    for (const { address } of servers.slice(0, 5)) {
      assert.match(report.stdout, new RegExp(`^127.0.0.1:${address.port} +up `, 'm'));
    }

    await thaw.configure(servers.slice(1));
    assert.equal((await thaw.run('cache', 'reload')).status, 0);
    const { zone } = await status();
    assert.ok(zone.state === 'on');
    assert.deepEqual(
      zone.servers.map(({ id }) => id),
      servers.slice(1).map(({ address }) => `127.0.0.1:${address.port}`),
    );
    await thaw.configure(servers.slice(2));
    const refused = await thaw.run('cache', 'reload');
    assert.deepEqual([refused.status, /5 servers or more/.test(refused.stderr)], [2, true]);
    await thaw.configure([]);
    assert.equal((await thaw.run('cache', 'reload')).stdout, 'off\n');

    await thaw.json('cache', 'drop');
    const { memory, disk, zone: none } = await status();
    assert.deepEqual([memory.chunks, none], [0, { state: 'off' }]);
    assert.ok(disk.state === 'on' && disk.chunks === 0);
  },
);
