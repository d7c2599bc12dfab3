/**
 * The system calls that a sandbox with a seccomp filter refuses, asked of the kernel from inside
 * it.
 */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { createSandboxFactory } from '../factory.ts';
import { probeSandboxRuntimes } from '../launchers/probe.ts';
import type { SandboxFactory } from '../sandbox.ts';
import { seccompProfile } from './seccomp-profile.ts';
import { buildTestRoot, cannotRunSandboxes, nodeInRoot } from '../testing/test-root.ts';

const modules = join(import.meta.dirname, '../../../node_modules');
const full = (await probeSandboxRuntimes()).filter(
  (probe) => probe.usable && probe.isolation === 'full',
);
const cannotFilter =
  full.length === 0
    ? 'needs runc'
    : process.arch === 'x64'
      ? false
      : 'needs x86-64 (the numbers of the system calls)';
const skip = cannotRunSandboxes === false ? cannotFilter : cannotRunSandboxes;

/**
 * Numbers of x86-64; arguments that the kernel itself would answer otherwise: EFAULT, EINVAL,
 * EBADF, ENOSYS or success.
 */
const refused: Readonly<Record<string, string>> = {
  mount: '165, 0, 0, 0, 0, 0',
  umount2: '166, 0, 0',
  pivot_root: '155, 0, 0',
  unshare: '272, 0',
  setns: '308, -1, 0',
  keyctl: '250, 0, 0',
  add_key: '248, 0, 0, 0, 0, 0',
  request_key: '249, 0, 0, 0, 0',
  bpf: '321, 0, 0, 0',
  perf_event_open: '298, 0, 0, 0, 0, 0',
  userfaultfd: '323, 0',
  io_uring_setup: '425, 0, 0',
  kexec_load: '246, 0, 0, 0, 0',
  init_module: '175, 0, 0, 0',
  delete_module: '176, 0, 0',
  reboot: '169, 0, 0, 0, 0',
  swapon: '167, 0, 0',
  settimeofday: '164, 0, 0',
  open_by_handle_at: '304, -1, 0, 0',
  ptrace: '101, 0, 0, 0, 0',
  process_vm_readv: '310, 1, 0, 0, 0, 0, 0',
  iopl: '172, 0',
  quotactl: '179, 0, 0, 0, 0',
  acct: '163, 0',
  syslog: '103, 10, 0, 0',
  fsopen: '430, 0, 0',
  open_tree: '428, -1, 0, 0',
  personality_odd: '135, 0x0400000',
  clone_newuser: '56, 0x10000000, 0, 0, 0, 0',
};

const answered: Readonly<Record<string, string>> = {
  clone3: '435, 0, 0', // ENOSYS, so that the C library falls back to clone
  socket_vsock: '41, 40, 1, 0',
  socket_vsock_of_64_bits: '41, 0x100000028, 1, 0', // the kernel looks at 32 of them
  socket_alg: '41, 38, 5, 0',
  socket_unix: '41, 1, 1, 0',
  personality_query: '135, 0xffffffff',
  getpid: '39',
  membarrier: '324, 0, 0, 0',
};

/** Prints a line for each call: its name and how it ended. */
const program = (calls: Readonly<Record<string, string>>): string => `
const { getSystemErrorName } = require('node:util');
const koffi = require('koffi');
const syscall = koffi.load(null).func('long syscall(${'long, '.repeat(6)}long)');
for (const [name, text] of Object.entries(${JSON.stringify(calls)})) {
  const args = [...text.split(', ').map(Number), 0, 0, 0, 0, 0, 0].slice(0, 7);
  const result = syscall(...args);
  console.log(name, result < 0 ? getSystemErrorName(-koffi.errno()) : 'ok');
}
`;

test(
  'what reaches past the sandbox is refused by the filter, what programs need is not',
  { skip },
  async () => {
    await using root = await buildTestRoot({
      node: true,
      copies: Object.fromEntries(
        ['koffi', '@koromix'].map((name) => [`/node_modules/${name}`, join(modules, name)]),
      ),
      files: { '/calls.cjs': program({ ...refused, ...answered }) },
    });
    const expected = Object.fromEntries(Object.keys(refused).map((name) => [name, 'EPERM']));
    for (const { runtime } of full) {
      assert.deepEqual(
        await answersOf(root.path, runtime),
        {
          ...expected,
          clone3: 'ENOSYS',
          socket_vsock: 'EPERM',
          socket_vsock_of_64_bits: 'EPERM',
          socket_alg: 'EPERM',
          socket_unix: 'ok',
          personality_query: 'ok',
          getpid: 'ok',
          membarrier: 'ok',
        },
        runtime,
      );
    }
  },
);

/** What the program in the root was answered, by call. */
async function answersOf(
  rootPath: string,
  runtime: SandboxFactory['runtime'],
): Promise<Readonly<Record<string, string>>> {
  const stateDir = await mkdtemp(join(tmpdir(), 'thaw-seccomp-'));
  const factory = await createSandboxFactory({ stateDir, runtime });
  let output = '';
  {
    await using sandbox = await factory.create(
      {
        id: `seccomp-${process.pid}`,
        rootPath,
        args: [nodeInRoot, '/calls.cjs'],
        env: {},
        workingDir: '/',
        user: '',
        memoryBytes: 256 * 1024 * 1024,
        tmpSizeBytes: 1024 * 1024,
        cpus: 2,
      },
      (data) => (output += Buffer.from(data).toString()),
    );
    await sandbox.exited;
  }
  await rm(stateDir, { recursive: true });
  const lines = output.trim().split('\n');
  return Object.fromEntries(lines.map((line) => line.split(' ')) as [string, string][]);
}

test('seccompProfile names no system call twice', () => {
  const byValue = ['personality', 'socket'];
  for (const arch of ['x64', 'arm64']) {
    const names = seccompProfile(arch).syscalls.flatMap((rule) => rule.names);
    const twice = names.filter((name, at) => names.indexOf(name) !== at && !byValue.includes(name));
    assert.deepEqual(twice, []);
  }
});
