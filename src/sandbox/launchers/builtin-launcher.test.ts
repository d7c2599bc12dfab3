/** What Thaw's own launcher makes, beside what runc makes of the same specification. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { createSandboxFactory } from '../factory.ts';
import { probeSandboxRuntimes } from './probe.ts';
import type { SandboxSpec } from '../sandbox.ts';
import { buildTestRoot, cannotRunSandboxes, type TestRoot } from '../testing/test-root.ts';

const usable = (await probeSandboxRuntimes()).filter((probe) => probe.usable);
const isUsable = (runtime: string): boolean => usable.some((probe) => probe.runtime === runtime);
const cannotCompare = isUsable('builtin') && isUsable('runc') ? false : 'needs runc on x86-64';

describe('the built-in launcher', { skip: cannotRunSandboxes || cannotCompare }, () => {
  let root: TestRoot;
  let stateDir: string;
  before(async () => {
    root = await buildTestRoot();
    stateDir = await mkdtemp(join(tmpdir(), 'thaw-builtin-'));
  });
  after(async () => {
    await root[Symbol.asyncDispose]();
    await rm(stateDir, { recursive: true });
  });

  /** What a script says as a sandbox of the built-in launcher, and as one of runc. */
  const both = async (script: string, more: Partial<SandboxSpec> = {}): Promise<string[][]> => {
    const outputs = [];
    for (const runtime of ['builtin', 'runc'] as const) {
      const factory = await createSandboxFactory({ stateDir, runtime });
      const parts: Uint8Array[] = [];
      await using sandbox = await factory.create(
        {
          id: `agree-${process.pid}`,
          rootPath: root.path,
          args: ['/bin/sh', '-c', script],
          env: { PATH: '/bin' },
          workingDir: '/',
          user: '',
          memoryBytes: 64 * 1024 * 1024,
          tmpSizeBytes: 8 * 1024 * 1024,
          cpus: 1,
          ...more,
        },
        (data) => parts.push(data),
      );
      await sandbox.exited;
      const output = Buffer.concat(parts).toString();
      outputs.push(output.split('\n').filter(Boolean));
    }
    return outputs;
  };

  test('mounts the same, with the same options and at least the same restrictions', async () => {
    const restrictions = new Set(['ro', 'nosuid', 'nodev', 'noexec']);
    // runc shows each control group that there is; options that tell how much was used are left out.
    const parsed = (lines: string[]): ReadonlyMap<string, readonly string[]> =>
      new Map(
        lines
          .map((line) => line.split(' '))
          .filter(([, point = '']) => !/^\/sys\/fs\/cgroup\/|^\/etc\/|^\/$/.test(point))
          .map(([, point = '', type = '', options = '']) => {
            const told = options.split(',').filter((one) => !/^(inode|nr_|size=0k|rw)/.test(one));
            return [point, [type, ...told.toSorted()]] as const;
          })
          .toSorted(([a], [b]) => (a < b ? -1 : 1)),
      );
    const [ownLines = [], runcLines = []] = await both('cat /proc/self/mounts');
    const [own, runc] = [parsed(ownLines), parsed(runcLines)];
    assert.deepEqual([...own.keys()], [...runc.keys()]);
    for (const [point, expected] of runc) {
      const actual = own.get(point) ?? [];
      const more = actual.filter(
        (option) => restrictions.has(option) && !expected.includes(option),
      );
      assert.deepEqual(
        actual.filter((option) => !more.includes(option)),
        expected,
        point,
      );
    }
  });

  test('gives the same identity, rights and limits', async () => {
    const script =
      'grep -E "^(Uid|Gid|Groups|NoNewPrivs|Seccomp|Seccomp_filters|SigIgn|SigBlk|CapInh|CapPrm|CapEff|CapAmb):" /proc/self/status;' +
      'cat /proc/self/limits /proc/self/oom_score_adj /proc/self/attr/current 2>/dev/null; ls -la /proc/self/fd | wc -l; umask; id;' +
      'ls -l /dev | tr -s " " | cut -d" " -f1,3,4,5,6,9-; ls -ld /dev/shm /dev/pts /dev/mqueue /tmp | cut -d" " -f1; cat /proc/1/cmdline; stat -c %a /dev';
    for (const user of ['', 'app', '12:34']) {
      const [own = [], runc = []] = await both(script, { user });
      // CAP_MKNOD, bit 27, is what the built-in launcher takes away besides.
      const withoutMknod = runc.map((line) => {
        return line.startsWith('Cap') ? line.replace(/(a8)(?=0425fb$)/, 'a0') : line;
      });
      const times = /\d\d:\d\d|[A-Z][a-z][a-z] \d+/g;
      const plain = (lines: string[]): string[] => lines.map((line) => line.replaceAll(times, ''));
      assert.deepEqual(plain(own), plain(withoutMknod), user);
    }
  });

  test('hides and protects the same files of the machine', async () => {
    const script =
      'for f in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/timer_list /proc/scsi /sys/firmware /sys/devices/virtual/powercap;' +
      'do [ -e $f ] || continue; echo $f $(cat $f 2>/dev/null | wc -c) $(ls -A $f 2>/dev/null | wc -l); done;' +
      'for f in /proc/sysrq-trigger /proc/sys/kernel/panic /proc/irq/x /proc/bus/x /proc/fs/x /sys/x /dev/x /etc/x;' +
      'do (echo 1 > $f) 2>&1 | grep -o "Read-only\\|nonexist\\|Permission\\|Operation"; done';
    const [own, runc] = await both(script);
    assert.deepEqual(own, runc);
  });
});
