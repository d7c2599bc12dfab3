/** What every runtime that works here must do alike. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';

import { present } from '../base/index.ts';
import { detectCgroups } from './limits/cgroups.ts';
import { createSandboxFactory } from './factory.ts';
import { sweepSandboxes } from './sandbox-directories.ts';
import { probeSandboxRuntimes } from './launchers/probe.ts';
import type { Sandbox, SandboxExit, SandboxFactory, SandboxSpec } from './sandbox.ts';
import { buildTestRoot, cannotRunSandboxes, hungMs, type TestRoot } from './testing/test-root.ts';

const MIB = 1024 * 1024;
const usable = (await probeSandboxRuntimes()).filter((probe) => probe.usable);

function leftovers(stateDir: string): readonly string[] {
  const groups = detectCgroups().hierarchies.flatMap(({ path }) => {
    return readdirSync(path).filter((name) => {
      return name.includes(`-lifecycle-${process.pid}-`) || name.includes(`-ready-${process.pid}-`);
    });
  });
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(stateDir));
  return [...groups, ...mounts, ...readdirSync(join(stateDir, 'sandboxes'))];
}

function commandLines(): readonly string[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.map((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
    } catch {
      return ''; // ended meanwhile
    }
  });
}

/** What the kernel says of the sandbox's group, in whichever version. */
function frozenStates(id: string): readonly string[] {
  return detectCgroups().hierarchies.flatMap(({ path }) =>
    readdirSync(path)
      .filter((name) => name.endsWith(`-${id}`))
      .flatMap((name) => {
        const [inVersion1, inVersion2] = ['freezer.state', 'cgroup.events'].map((file) => {
          const at = join(path, name, file);
          return existsSync(at) ? readFileSync(at, 'utf8') : undefined;
        });
        if (inVersion1 !== undefined) return inVersion1 === 'FROZEN\n' ? ['frozen'] : ['running'];
        const isUnified = detectCgroups().kind === 'unified';
        if (inVersion2 === undefined || !isUnified) return [];
        return inVersion2.includes('frozen 1') ? ['frozen'] : ['running'];
      }),
  );
}

for (const { runtime, isolation } of usable) {
  describe(`sandboxes of ${runtime}`, { skip: cannotRunSandboxes }, () => {
    let root: TestRoot;
    let stateDir: string;
    let factory: SandboxFactory;
    let count = 0;

    before(async () => {
      root = await buildTestRoot();
      stateDir = await mkdtemp(join(tmpdir(), 'thaw-sandbox-'));
      factory = await createSandboxFactory({ stateDir, runtime });
    });
    after(async () => {
      const left = leftovers(stateDir);
      await rm(stateDir, { recursive: true });
      await root[Symbol.asyncDispose]();
      assert.deepEqual(left, []);
    });

    const specOf = (script: string, more: Partial<SandboxSpec> = {}): SandboxSpec => {
      count += 1;
      return {
        id: `lifecycle-${process.pid}-${runtime}-${count}`,
        rootPath: root.path,
        args: ['/bin/sh', '-c', script],
        env: { PATH: '/bin' },
        workingDir: '/',
        user: '',
        memoryBytes: 64 * MIB,
        tmpSizeBytes: 8 * MIB,
        cpus: 1,
        ...more,
      };
    };
    const run = async (
      script: string,
      more: Partial<SandboxSpec> = {},
    ): Promise<SandboxExit & { readonly output: string }> => {
      const parts: Uint8Array[] = [];
      await using sandbox = await factory.create(specOf(script, more), (data) => parts.push(data));
      const exit = await sandbox.exited;
      return { ...exit, output: Buffer.concat(parts).toString() };
    };
    const said = async (script: string, more: Partial<SandboxSpec> = {}): Promise<string> =>
      (await run(script, more)).output.trim();
    /** A sandbox that has said "up" and then waits. */
    const start = async (script: string): Promise<Sandbox> => {
      const up = Promise.withResolvers<void>();
      const spec = specOf(`${script}\necho up; exec sleep 1000`);
      const sandbox = await factory.create(spec, () => up.resolve());
      await up.promise;
      return sandbox;
    };

    test('a working directory that leads up is made inside, and nothing outside', async () => {
      const victim = join(stateDir, 'victim');
      await mkdir(victim, { mode: 0o700 });
      try {
        const output = await said('pwd', { workingDir: '/../../../victim/made' });
        assert.equal(output, '/victim/made');
        assert.deepEqual(readdirSync(victim), []);
        assert.equal(statSync(victim).mode & 0o777, 0o700);
      } finally {
        await rm(victim, { recursive: true });
      }
    });

    test('exited tells the status, after all output has come', async () => {
      const { output, ...exit } = await run('echo out; echo err >&2; exit 7');
      assert.deepEqual(exit, { status: 7, outOfMemory: false });
      assert.equal(output, 'out\nerr\n');
    });

    test('exited tells a signal from a status of the same number', async () => {
      assert.deepEqual(await run('exit 137'), { status: 137, outOfMemory: false, output: '' });
      await using sandbox = await start('true');
      await sandbox.kill();
      assert.deepEqual(await sandbox.exited, { signal: 'SIGKILL', outOfMemory: false });
    });

    test('the environment is what was asked for, with the Runtime API and a home', async () => {
      const env = {
        PATH: '/bin',
        ODD: 'a b"c\'d\\e $f\ng=h',
        EMPTY: '',
        AWS_LAMBDA_RUNTIME_API: 'x',
      };
      const output = await said('cat /proc/self/environ', { env });
      assert.deepEqual(
        new Set(output.split('\0').filter(Boolean)),
        new Set([
          'PATH=/bin',
          `ODD=${env.ODD}`,
          'EMPTY=',
          'AWS_LAMBDA_RUNTIME_API=127.0.0.1:9001',
          'HOME=/root',
          ...(output.includes('SHLVL') ? ['SHLVL=1', 'PWD=/'] : []),
        ]),
      );
    });

    test('nothing is writable but /tmp, which is fresh, bounded and for everybody', async () => {
      const output = await said(
        'for f in /x /etc/passwd /bin/x /proc/sys/kernel/hostname /sys/kernel/x; do (echo no > $f) 2>/dev/null && echo wrote $f; done;' +
          'ls -A /tmp; stat -c %a /tmp; echo yes > /tmp/file && cat /tmp/file; dd if=/dev/zero of=/tmp/big bs=1M count=9 2>&1 | grep -o "No space"; df -m /tmp | grep -c " 8 "',
        { user: 'app' },
      );
      assert.deepEqual(
        output.split('\n').map((line) => line.trim()),
        ['1777', 'yes', 'No space', '1'],
      );
      assert.equal(await said('ls -A /tmp'), '');
    });

    test("the user, its groups, home and working directory are the image's", async () => {
      const extra = isolation === 'full' ? ' groups=1001(app),2002(extra)' : '';
      const output = await said('id; pwd; echo $HOME', { user: 'app', workingDir: '/etc' });
      const [id, ...rest] = output.split('\n');
      assert.equal(id?.replace(' groups=1001(app)\n', ''), `uid=1000(app) gid=1001(app)${extra}`);
      assert.deepEqual(rest, ['/etc', '/home/app']);
      assert.equal(await said('id -u; id -g', { user: '12:34' }), '12\n34');
    });

    test('it has process, network, host name and ipc of its own', async () => {
      const output = await said(
        'echo $$; hostname; ip -o addr | grep -c "lo "; ls /sys/class/net; ip route; cat /etc/hosts',
      );
      const [pid, name, , net, ...hosts] = output.split('\n');
      assert.deepEqual([pid, net], ['1', 'lo']);
      assert.match(name ?? '', /^lifecycle-/);
      assert.match(hosts.join(' '), /127\.0\.0\.1 localhost lifecycle-/);
    });

    test("no capability beyond Docker's, none for a user, and no way to new privileges", async () => {
      const status = 'grep -E "^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs)" /proc/self/status';
      const valuesOf = (text: string) =>
        new Map([...text.matchAll(/(\w+):\s+(\w+)/g)].map(([, k, v]) => [k, BigInt(`0x${v}`)]));
      const docker = 0xa80425fbn;
      const ofRoot = valuesOf(await said(status));
      assert.equal((ofRoot.get('CapEff') ?? -1n) & ~docker, 0n);
      assert.equal((ofRoot.get('CapBnd') ?? -1n) & ~docker, 0n);
      assert.equal(ofRoot.get('NoNewPrivs'), 1n);
      const ofUser = valuesOf(await said(status, { user: 'app' }));
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb'])
        assert.equal(ofUser.get(set), 0n, set);
    });

    test('mounts, namespaces and devices of the machine are out of reach', async () => {
      const output = await said(
        'mount -t tmpfs none /tmp 2>&1 | grep -c -i "perm"; mount -o remount,rw / 2>&1 | grep -c -i "perm";' +
          'unshare -m true 2>&1 | grep -c -i "perm"; umount /tmp 2>&1 | grep -c -i perm;' +
          '(mknod /tmp/disk b 7 0 && cat /tmp/disk) 2>&1 | grep -c -i "perm"; cat /proc/kcore 2>/dev/null | wc -c; ls /dev | grep -c -E "loop|sd|vd|fuse|kvm|mem$"',
      );
      assert.deepEqual(output.split('\n'), ['1', '1', '1', '1', '1', '0', '0']);
    });

    test('the memory limit ends a program, and exited says so', async () => {
      const exit = await run('dd if=/dev/zero of=/dev/null bs=200M count=1');
      assert.equal(exit.outOfMemory, true);
    });

    test('the limits on CPU time and on the number of processes are set', async () => {
      const spec = specOf('exec sleep 1000', { cpus: 0.25 });
      await using sandbox = await factory.create(spec, () => {});
      const limitOf = (file: string): readonly string[] =>
        detectCgroups()
          .hierarchies.flatMap(({ path }) =>
            readdirSync(path).map((name) => join(path, name, file)),
          )
          .filter((path) => path.includes(sandbox.id) && existsSync(path))
          .map((path) => readFileSync(path, 'utf8').trim());
      const quotas = [...limitOf('cpu.cfs_quota_us'), ...limitOf('cpu.max')];
      assert.deepEqual(
        quotas.map((text) => text.split(' ')[0]),
        ['25000'],
      );
      assert.deepEqual(limitOf('pids.max'), ['1024']);
    });

    test('a program can read its own memory limit', async () => {
      const output = await said(
        'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null',
      );
      assert.equal(output, String(64 * MIB));
    });

    test('disposing ends every process of it, also those that ignore signals and have left its session', async () => {
      const mark = `98765.${process.pid}`;
      await using sandbox = await start(`trap "" TERM INT HUP; (exec setsid sleep ${mark}) &`);
      const running = (): readonly string[] => commandLines().filter((line) => line.includes(mark));
      while (!running().some((line) => line.startsWith('sleep'))) await nextTurn();
      await sandbox[Symbol.asyncDispose]();
      assert.deepEqual(running(), []);
    });

    test('create refuses what cannot be run, and leaves nothing', async () => {
      const refused = (more: Partial<SandboxSpec>, code: string) =>
        assert.rejects(
          factory.create(specOf('true', more), () => {}),
          { code },
        );
      await refused({ args: ['/nope'] }, 'ERR_SANDBOX_ENTRYPOINT');
      await refused({ args: ['nope'] }, 'ERR_SANDBOX_ENTRYPOINT');
      await refused({ args: ['/etc/group/x'] }, 'ERR_SANDBOX_ENTRYPOINT');
      await refused({ args: ['/etc'] }, 'ERR_SANDBOX_ENTRYPOINT');
      await refused({ user: 'nobody' }, 'ERR_SANDBOX_USER');
      await refused({ id: 'No' }, 'ERR_SANDBOX_SPEC');
      await refused({ args: [] }, 'ERR_SANDBOX_SPEC');
      await refused({ workingDir: 'etc' }, 'ERR_SANDBOX_SPEC');
      await refused({ workingDir: '/etc/passwd' }, 'ERR_SANDBOX_SPEC');
      await using odd = await buildTestRoot({ mountPoints: false, files: { '/proc': 'a file' } });
      await refused({ rootPath: odd.path }, 'ERR_SANDBOX_START');
      await refused({ env: { 'A=B': 'c' } }, 'ERR_SANDBOX_SPEC');
      await refused({ memoryBytes: 1 }, 'ERR_SANDBOX_SPEC');
      await refused({ cpus: Number.NaN }, 'ERR_SANDBOX_SPEC');
      await using taken = await start('true');
      await refused({ id: taken.id }, 'ERR_SANDBOX_SPEC');
      await taken[Symbol.asyncDispose]();
      assert.deepEqual(leftovers(stateDir), []);
    });

    test('an image without mount points or its working directory gets them', async () => {
      await using bare = await buildTestRoot({ mountPoints: false });
      const output = await said(
        'pwd; ls -A; stat -c %a /tmp; (echo no > /var/task/x) 2>&1 | grep -c Read-only',
        {
          rootPath: bare.path,
          workingDir: '/var/task',
        },
      );
      assert.deepEqual(output.split('\n'), ['/var/task', '1777', '1']);
    });

    test('several sandboxes run at once, each with its own Runtime API on the same port', async () => {
      await using made = new AsyncDisposableStack();
      const sandboxes = await Promise.all(
        ['a', 'b', 'c'].map(async (name) => {
          const script = `while :; do wget -q -O /tmp/event http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/next; wget -q -O - --post-data "\\"${name} $(cat /tmp/event)\\"" http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation/id/response; done`;
          return made.use(await factory.create(specOf(script), () => {}));
        }),
      );
      const outcomes = await Promise.all(
        sandboxes.map((sandbox) =>
          sandbox.runtimeApi.invoke(
            { requestId: 'id', payload: Buffer.from('1'), deadlineMs: 1, functionArn: 'arn' },
            AbortSignal.timeout(hungMs),
          ),
        ),
      );
      assert.deepEqual(
        outcomes.map((outcome) => outcome.kind !== 'stream' && String(outcome.payload)),
        ['"a 1"', '"b 1"', '"c 1"'],
      );
    });

    test('what is frozen stands still, is thawed to go on, and can be killed', async () => {
      const lines: string[] = [];
      const script = 'echo up; while :; do echo tick; sleep 0.01; done';
      await using sandbox = await factory.create(specOf(script), (data) =>
        lines.push(String(data)),
      );
      const tick = async (): Promise<void> => {
        const before = lines.length;
        while (lines.length === before) await nextTurn();
      };
      await tick();
      assert.equal(factory.canFreeze, true);
      await sandbox.freeze();
      assert.deepEqual(frozenStates(sandbox.id), ['frozen']);
      await sandbox.thaw();
      await tick();
      await sandbox.freeze();
      await sandbox.kill();
      assert.equal((await sandbox.exited).signal, 'SIGKILL');
      await sandbox.freeze(); // of what has ended
      await sandbox.thaw();
    });

    test('thaw overtakes a freeze, and disposing a frozen sandbox ends it', async () => {
      await using sandbox = await start('true');
      const freezing = sandbox.freeze();
      await Promise.all([sandbox.thaw(), freezing]);
      assert.deepEqual(frozenStates(sandbox.id), ['running']);
      await sandbox.freeze();
      await sandbox[Symbol.asyncDispose]();
      assert.deepEqual(leftovers(stateDir), []);
    });

    test('a sandbox can be frozen from its first moment on', async () => {
      // What starts it has threads, and may just be becoming the program: see Cgroup.freeze.
      for (let round = 0; round < 8; round += 1) {
        await using sandbox = await factory.create(specOf('exec sleep 1000'), () => {});
        await sandbox.freeze();
        assert.deepEqual(frozenStates(sandbox.id), ['frozen']);
      }
    });

    test('memoryPeakBytes tells what was used at most', async () => {
      await using sandbox = await start('dd if=/dev/zero of=/dev/null bs=20M count=1');
      const peakBytes = present(await sandbox.memoryPeakBytes(), 'peak');
      assert.ok(peakBytes > 20 * MIB && peakBytes <= 64 * MIB, `${peakBytes}`);
      await sandbox[Symbol.asyncDispose]();
      assert.equal(await sandbox.memoryPeakBytes(), undefined);
    });

    test('a directory of the host is shown read-only, also where the root lacks the place', async () => {
      const source = await mkdtemp(join(tmpdir(), 'thaw-bind-'));
      try {
        await writeFile(
          join(source, 'run'),
          '#!/bin/sh\necho ran in $(pwd); ls; echo no > /var/task/x',
          {
            mode: 0o755,
          },
        );
        const output = await said('true', {
          args: ['/var/task/run'],
          workingDir: '/var/task',
          binds: [{ source, target: '/var/task' }],
        });
        assert.match(output, /^ran in \/var\/task\nrun\n.*Read-only file system$/);
        const mounts = await said('grep " /var/task " /proc/self/mounts', {
          binds: [{ source, target: '/var/task' }],
        });
        assert.match(mounts, /ro,.*nosuid,.*nodev/);
      } finally {
        await rm(source, { recursive: true });
      }
      for (const target of ['relative', '/', '/dev/x', '/a/../b']) {
        const binds = [{ source: '/etc', target }];
        await assert.rejects(
          factory.create(specOf('true', { binds }), () => {}),
          { code: 'ERR_SANDBOX_SPEC' },
        );
      }
    });

    test('connect reaches a server inside, and says at once that there is none', async () => {
      const script = 'while :; do echo hello | nc -l -p 8080; done & echo up; wait';
      const up = Promise.withResolvers<void>();
      await using sandbox = await factory.create(specOf(script), () => up.resolve());
      await up.promise;
      await assert.rejects(sandbox.connect(8081), {
        code: 'ERR_SANDBOX_CONNECT',
        errno: 'ECONNREFUSED',
      });
      const connect = async (): Promise<Socket> => {
        for (;;) {
          try {
            return await sandbox.connect(8080);
          } catch (thrown) {
            assert.equal((thrown as { errno?: unknown }).errno, 'ECONNREFUSED'); // not up yet
            await nextTurn();
          }
        }
      };
      const socket = await connect();
      const [data] = (await once(socket, 'data')) as [Buffer];
      assert.equal(String(data), 'hello\n');
      socket.destroy();
    });

    test('spawn starts further processes that share everything but their command', async () => {
      const parts: string[] = [];
      const up = Promise.withResolvers<void>();
      const spec = specOf('echo main > /tmp/who; sleep 1000 & echo up; wait', { user: 'app' });
      await using sandbox = await factory.create(spec, (data) => {
        parts.push(String(data));
        up.resolve();
      });
      await up.promise;
      const script =
        'cat /tmp/who; id -u; id -g; pwd; echo $FOO $HOME $AWS_LAMBDA_RUNTIME_API; cat /proc/1/comm;' +
        'grep -c lo: /proc/net/dev; grep -E "^(NoNewPrivs|Seccomp|CapEff|CapBnd):" /proc/self/status; cat /proc/1/status | grep -E "^(NoNewPrivs|Seccomp|CapEff|CapBnd):"; (echo no > /etc/x) 2>&1 | grep -c Read-only; exit 3';
      const process = await sandbox.spawn({
        args: ['sh', '-c', script],
        env: { PATH: '/bin', FOO: 'bar' },
      });
      assert.deepEqual(await process.exited, { status: 3 });
      const [, who, uid, gid, cwd, env, comm, net, ...rest] = parts.join('').split('\n');
      assert.deepEqual(
        [who, uid, gid, cwd, env, comm, net],
        ['main', '1000', '1001', '/', 'bar /home/app 127.0.0.1:9001', 'sh', '1'],
      );
      assert.deepEqual(rest.slice(0, 3), rest.slice(4, 7));
      assert.equal(rest[3], 'Seccomp:\t2'); // also where the main process has no filter
      assert.deepEqual(rest.slice(8), ['1', '']);
      const waiting = await sandbox.spawn({ args: ['sleep', '1000'], env: { PATH: '/bin' } });
      waiting.signal('SIGTERM');
      assert.deepEqual(await waiting.exited, { signal: 'SIGTERM' });
      await assert.rejects(sandbox.spawn({ args: ['/nope'], env: {} }), {
        code: 'ERR_SANDBOX_ENTRYPOINT',
      });
      const last = await sandbox.spawn({ args: ['sleep', '1000'], env: { PATH: '/bin' } });
      await sandbox[Symbol.asyncDispose]();
      assert.deepEqual(await last.exited, { signal: 'SIGKILL' });
    });

    test('signal reaches the main process alone', async () => {
      const script = 'trap "echo got it; exit 5" TERM; echo up; while :; do sleep 0.02; done';
      const parts: string[] = [];
      const up = Promise.withResolvers<void>();
      await using sandbox = await factory.create(specOf(script), (data) => {
        parts.push(String(data));
        up.resolve();
      });
      await up.promise;
      sandbox.signal('SIGTERM');
      assert.equal((await sandbox.exited).status, 5);
      assert.equal(parts.join(''), 'up\ngot it\n');
      sandbox.signal('SIGTERM');
    });

    test('a sandbox that was got ready ahead is like any other, and none is left over', async () => {
      const ahead = await createSandboxFactory({ stateDir, runtime, readyCount: 1 });
      const isReady = (): boolean =>
        readdirSync(join(stateDir, 'sandboxes')).some((name) => name.includes('.ready-'));
      while (!isReady()) await nextTurn();
      for (const mark of ['one', 'two', 'three']) {
        const parts: string[] = [];
        const script = `echo ${mark} $FOO; hostname; exit 4`;
        const spec = specOf(script, { env: { PATH: '/bin', FOO: mark.repeat(20_000) } });
        await using sandbox = await ahead.create(spec, (data) => parts.push(String(data)));
        assert.equal((await sandbox.exited).status, 4);
        const output = parts.join('');
        assert.ok(
          output.startsWith(`${mark} ${spec.env['FOO']}\n${spec.id}\n`),
          output.slice(0, 99),
        );
      }
      await ahead[Symbol.asyncDispose]();
      assert.deepEqual(leftovers(stateDir), []);
    });

    test('what a killed worker leaves is swept, what a living one has is not', async () => {
      const spec = specOf('echo up; exec sleep 1000');
      const worker = spawn(
        process.execPath,
        [
          '--input-type=module-typescript',
          '-e',
          `
        import { createSandboxFactory } from ${JSON.stringify(join(import.meta.dirname, 'factory.ts'))};
        const factory = await createSandboxFactory({ stateDir: ${JSON.stringify(stateDir)}, runtime: ${JSON.stringify(runtime)} });
        const sandbox = await factory.create(${JSON.stringify(spec)}, (data) => process.stdout.write(data));
        await sandbox.freeze();
        process.stdout.write('frozen');
        setInterval(() => {}, 1000);
      `,
        ],
        { stdio: ['ignore', 'pipe', 'inherit'] },
      );
      await new Promise<void>((resolve) => {
        present(worker.stdout, 'stdout').on('data', (data) => {
          if (String(data).includes('frozen')) resolve();
        });
      });
      const ended = new Promise((resolve) => worker.once('exit', resolve));
      assert.deepEqual(await sweepSandboxes(stateDir), []);
      worker.kill('SIGKILL');
      await ended;
      await using own = await start('true');
      assert.deepEqual(await sweepSandboxes(stateDir), [spec.id]);
      await own[Symbol.asyncDispose]();
      assert.deepEqual(leftovers(stateDir), []);
    });
  });
}
