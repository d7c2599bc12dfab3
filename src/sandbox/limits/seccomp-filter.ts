/**
 * Compiles a seccomp profile into the kernel's form, a program of classic BPF. Pure.
 *
 * The profile's system calls become sorted ranges of numbers with one answer each, found by binary
 * search; what no range holds gets the default. Calls of another architecture, and of the 32-bit
 * ABI of x86-64, kill the process: their numbers mean other calls. Source: kernel,
 * Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/seccomp.h, bpf_common.h.
 */

import type { ArgumentRule, SeccompProfile } from './seccomp-profile.ts';

const AUDIT_ARCH_X86_64 = 0xc000_003e;
/** Set in the numbers of calls with 32-bit pointers. */
const X32_SYSCALL_BIT = 0x4000_0000;
const SECCOMP_RET_KILL_PROCESS = 0x8000_0000;
const SECCOMP_RET_ERRNO = 0x0005_0000;
const SECCOMP_RET_ALLOW = 0x7fff_0000;

/** seccomp_data: nr, arch, instruction_pointer, args[6]; 64-bit fields have their low half first. */
const numberOffset = 0;
const archOffset = 4;
const argumentsOffset = 16;

const LOAD_WORD = 0x20;
const AND = 0x54;
const JUMP = 0x05;
const JUMP_IF_EQUAL = 0x15;
const JUMP_IF_NOT_LESS = 0x35;
const RETURN = 0x06;
const instructionSizeBytes = 8;
/** Instructions that a conditional jump can skip. */
const skipMax = 255;

interface Instruction {
  readonly code: number;
  readonly k: number;
  /** Instructions to skip when the condition holds, and when it does not. */
  readonly ifTrue?: number;
  readonly ifFalse?: number;
}

type Code = readonly Instruction[];

/** From this number on, up to the next range's. */
interface Range {
  readonly first: number;
  readonly code: Code;
}

/** `numberOf`: undefined for a call that the architecture, x86-64, does not have. */
export function compileSeccomp(
  profile: SeccompProfile,
  numberOf: (name: string) => number | undefined,
): Uint8Array {
  const otherwise = answer(SECCOMP_RET_ERRNO | profile.defaultErrnoRet);
  const kill = answer(SECCOMP_RET_KILL_PROCESS);
  const code = [
    { code: LOAD_WORD, k: archOffset },
    { code: JUMP_IF_EQUAL, k: AUDIT_ARCH_X86_64, ifTrue: 1 },
    ...kill,
    { code: LOAD_WORD, k: numberOffset },
    { code: JUMP_IF_NOT_LESS, k: X32_SYSCALL_BIT, ifFalse: 1 },
    ...kill,
    ...search(rangesOf(profile, numberOf, otherwise)),
  ];
  return encode(code);
}

function rangesOf(
  profile: SeccompProfile,
  numberOf: (name: string) => number | undefined,
  otherwise: Code,
): readonly Range[] {
  const byNumber = new Map<number, Code>();
  for (const { names, action, errnoRet = 0, args = [] } of profile.syscalls) {
    const result = action === 'SCMP_ACT_ALLOW' ? SECCOMP_RET_ALLOW : SECCOMP_RET_ERRNO | errnoRet;
    for (const number of names.map(numberOf)) {
      if (number === undefined) continue;
      // Several rules about one call: the one that was given first is asked first.
      const next = byNumber.get(number) ?? otherwise;
      byNumber.set(number, ruleOf(args, answer(result), next));
    }
  }
  const ranges: Range[] = [{ first: 0, code: otherwise }];
  for (const [number, code] of [...byNumber].toSorted(([a], [b]) => a - b)) {
    const before = ranges.at(-1);
    if (before?.first === number) ranges.pop();
    ranges.push({ first: number, code }, { first: number + 1, code: otherwise });
  }
  return ranges.filter(({ code }, index) => !isSame(code, ranges[index - 1]?.code));
}

function isSame(a: Code, b: Code | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** `then` if the arguments are as the rules say, else `next`. */
function ruleOf(rules: readonly ArgumentRule[], then: Code, next: Code): Code {
  return rules.reduceRight<Code>((inner, rule) => conditionOf(rule, inner, next), then);
}

/** Compares both halves of the argument; each test that fails goes on at `next`. */
function conditionOf(
  { index, value, valueTwo = 0, op }: ArgumentRule,
  then: Code,
  next: Code,
): Code {
  const offset = argumentsOffset + 8 * index;
  const low = [
    { code: LOAD_WORD, k: offset },
    ...(op === 'SCMP_CMP_MASKED_EQ' ? [{ code: AND, k: value }] : []),
  ];
  const wanted = op === 'SCMP_CMP_MASKED_EQ' ? valueTwo : value;
  // A mask of 32 bits leaves nothing of the high half to compare.
  if (op === 'SCMP_CMP_MASKED_EQ') {
    return [...low, { code: JUMP_IF_EQUAL, k: wanted, ifFalse: then.length }, ...then, ...next];
  }
  return [
    { code: LOAD_WORD, k: offset + 4 },
    { code: JUMP_IF_EQUAL, k: 0, ifFalse: low.length + 1 + then.length },
    ...low,
    { code: JUMP_IF_EQUAL, k: wanted, ifFalse: then.length },
    ...then,
    ...next,
  ];
}

function answer(value: number): Code {
  return [{ code: RETURN, k: value }];
}

/** Finds the range of the number that was loaded. */
function search(ranges: readonly Range[]): Code {
  const middle = ranges.length >> 1;
  const pivot = ranges[middle];
  if (pivot === undefined) return [];
  if (middle === 0) return pivot.code;
  const [below, above] = [search(ranges.slice(0, middle)), search(ranges.slice(middle))];
  const test = { code: JUMP_IF_NOT_LESS, k: pivot.first };
  if (below.length <= skipMax) return [{ ...test, ifTrue: below.length }, ...below, ...above];
  return [{ ...test, ifFalse: 1 }, { code: JUMP, k: below.length }, ...below, ...above];
}

/** sock_filter: u16 code, u8 jt, u8 jf, u32 k. */
function encode(code: Code): Uint8Array {
  const bytes = Buffer.alloc(code.length * instructionSizeBytes);
  for (const [index, { code: operation, ifTrue = 0, ifFalse = 0, k }] of code.entries()) {
    const at = index * instructionSizeBytes;
    bytes.writeUInt16LE(operation, at);
    bytes.writeUInt8(ifTrue, at + 2);
    bytes.writeUInt8(ifFalse, at + 3);
    bytes.writeUInt32LE(k >>> 0, at + 4);
  }
  return bytes;
}
