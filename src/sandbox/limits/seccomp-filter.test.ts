import assert from 'node:assert/strict';
import { test } from 'node:test';

import { compileSeccomp } from './seccomp-filter.ts';
import { seccompProfile } from './seccomp-profile.ts';
import { x64SyscallNumber } from '../launchers/x64-syscalls.ts';

const program = compileSeccomp(seccompProfile('x64'), x64SyscallNumber);
const X86_64 = 0xc000_003e;
const allow = 0x7fff_0000;
const eperm = 0x0005_0001;
const enosys = 0x0005_0026;
const kill = 0x8000_0000;

/** What the kernel's machine would do, of which the filter uses seven instructions. */
function run(number: number, args: readonly bigint[] = [], arch = X86_64): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(number, 0);
  data.writeUInt32LE(arch, 4);
  for (const [index, value] of args.entries()) data.writeBigUInt64LE(value, 16 + 8 * index);
  const view = Buffer.from(program);
  let accumulator = 0;
  for (let at = 0; ; at += 8) {
    const [code, k] = [view.readUInt16LE(at), view.readUInt32LE(at + 4)];
    const jump = (holds: boolean): number => 8 * view.readUInt8(at + (holds ? 2 : 3));
    if (code === 0x06) return k;
    if (code === 0x20) accumulator = data.readUInt32LE(k);
    else if (code === 0x54) accumulator = (accumulator & k) >>> 0;
    else if (code === 0x05) at += 8 * k;
    else if (code === 0x15) at += jump(accumulator === k);
    else if (code === 0x35) at += jump(accumulator >= k);
    else assert.fail(`instruction ${code}`);
  }
}

const number = (name: string): number => x64SyscallNumber(name) ?? assert.fail(name);

test('the filter answers for every number as the profile says', () => {
  const { syscalls } = seccompProfile('x64');
  const plain = syscalls.filter(
    ({ args, action }) => args === undefined && action.endsWith('ALLOW'),
  );
  const allowed = new Set(plain.flatMap(({ names }) => names.map(x64SyscallNumber)));
  const special = new Set(['clone', 'clone3', 'socket', 'personality'].map(number));
  for (let n = 0; n < 600; n += 1) {
    if (!special.has(n)) assert.equal(run(n), allowed.has(n) ? allow : eperm, `call ${n}`);
  }
  assert.equal(run(number('clone3')), enosys);
});

test('the filter looks at arguments, both halves', () => {
  const of = (name: string, ...args: bigint[]): number => run(number(name), args);
  assert.equal(of('clone', 0x0100_0011n), allow);
  for (const flag of [0x2_0000n, 0x200_0000n, 0x1000_0000n, 0x2000_0000n, 0x4000_0000n]) {
    assert.equal(of('clone', flag | 17n), eperm);
  }
  assert.equal(of('socket', 2n), allow);
  assert.equal(of('socket', 0xffff_ffff_0000_0002n), allow);
  for (const family of [40n, 38n, 0x1_0000_0028n]) assert.equal(of('socket', family), eperm);
  assert.equal(of('personality', 0n), allow);
  assert.equal(of('personality', 0xffff_ffffn), allow);
  assert.equal(of('personality', 0x2_0008n), allow);
  assert.equal(of('personality', 0x40_0000n), eperm);
  assert.equal(of('personality', 0x1_0000_0000n), eperm);
});

test('calls by the numbers of another architecture kill', () => {
  assert.equal(run(number('getpid'), [], 0x4000_0003), kill);
  assert.equal(run(0x4000_0000 + number('getpid')), kill);
});
