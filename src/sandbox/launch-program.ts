/**
 * Makes a program that does nothing but a list of system calls, one after the other, up to the one
 * that becomes another program. Pure.
 *
 * It takes the place of the container runtime: a static executable of some kilobytes with all
 * arguments laid out in it, which the kernel loads and runs in a fraction of the time that a
 * language's runtime needs to start. Between two calls it decides one thing only: whether a
 * failure is one of the errors that the call may end in. If not, it writes the call's address and
 * the error to descriptor 3 and exits.
 *
 * For x86-64. Source: System V ABI (ELF-64 object file format; AMD64 supplement, A.2.1 "Calling
 * Conventions" of the kernel).
 */

import { x64SyscallNumber } from './x64-syscalls.ts';

/** A number, or the address of a string, of bytes, of an array of strings, of a sock_fprog. */
export type Argument =
  | number
  | string
  | Uint8Array
  | { readonly strings: readonly string[] }
  | { readonly filter: Uint8Array };

/** One system call. */
export interface Step {
  readonly call: string;
  readonly args: readonly Argument[];
  /** Up to two errors, by number, after which the next step follows all the same. */
  readonly mayFailWith?: readonly number[];
}

export interface LaunchProgram {
  /** The contents of an executable file. */
  readonly bytes: Uint8Array;
  /** Of what it writes to descriptor 3: the step that failed, and the error's number. */
  failureOf(report: Uint8Array): { readonly step: Step; readonly errno: number } | undefined;
}

/** Where the file lies in memory. */
const baseAddress = 0x40_0000;
const fileHeaderSizeBytes = 64;
const programHeaderSizeBytes = 56;
const codeOffset = fileHeaderSizeBytes + 2 * programHeaderSizeBytes;
/** Number, six arguments, two errors of 32 bits. */
const stepSizeBytes = 64;
const errorsOffset = 56;
const reportSizeBytes = 16;
const pageSizeBytes = 4096;

/** `rbx` walks over the steps. Jumps are relative to the byte after them. */
const code = Buffer.from(
  [
    'bb 00000000', //          mov   ebx, first step    (filled in)
    // next step:
    '48 8b 03', //             mov   rax, [rbx]         number
    '48 8b 7b 08', //          mov   rdi, [rbx+8]       arguments 1..6
    '48 8b 73 10', //          mov   rsi, [rbx+16]
    '48 8b 53 18', //          mov   rdx, [rbx+24]
    '4c 8b 53 20', //          mov   r10, [rbx+32]
    '4c 8b 43 28', //          mov   r8,  [rbx+40]
    '4c 8b 4b 30', //          mov   r9,  [rbx+48]
    '0f 05', //                syscall
    '48 85 c0', //             test  rax, rax
    '79 29', //                jns   advance
    'f7 d8', //                neg   eax                -> the error
    '3b 43 38', //             cmp   eax, [rbx+56]
    '74 22', //                je    advance
    '3b 43 3c', //             cmp   eax, [rbx+60]
    '74 1d', //                je    advance
    // failed:
    '50', //                   push  rax
    '53', //                   push  rbx
    'b8 01000000', //          mov   eax, 1             write
    'bf 03000000', //          mov   edi, 3
    '48 89 e6', //             mov   rsi, rsp
    'ba 10000000', //          mov   edx, 16
    '0f 05', //                syscall
    'b8 e7000000', //          mov   eax, 231           exit_group
    '0f 05', //                syscall
    // advance:
    '48 83 c3 40', //          add   rbx, 64
    'eb af', //                jmp   next step
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
);
const firstStepAt = 1;

export function launchProgram(steps: readonly Step[]): LaunchProgram {
  const stepsOffset = Math.ceil((codeOffset + code.byteLength) / stepSizeBytes) * stepSizeBytes;
  const data = new Data(baseAddress + stepsOffset + steps.length * stepSizeBytes);
  const table = Buffer.alloc(steps.length * stepSizeBytes);
  for (const [index, step] of steps.entries()) {
    encodeStep(step, table.subarray(index * stepSizeBytes), data);
  }
  const head = Buffer.alloc(stepsOffset);
  head.set(code, codeOffset);
  head.writeUInt32LE(baseAddress + stepsOffset, codeOffset + firstStepAt);
  const rest = data.bytes();
  writeHeaders(head, head.byteLength + table.byteLength + rest.byteLength);
  return {
    bytes: Buffer.concat([head, table, rest]),
    failureOf: (report) => {
      if (report.byteLength < reportSizeBytes) return undefined;
      const view = Buffer.from(report);
      const at = Number(view.readBigUInt64LE(0)) - baseAddress - stepsOffset;
      const step = steps[at / stepSizeBytes];
      return step === undefined ? undefined : { step, errno: view.readUInt32LE(8) };
    },
  };
}

function encodeStep(step: Step, into: Buffer, data: Data): void {
  const number = x64SyscallNumber(step.call);
  if (number === undefined) throw new TypeError(`No system call is called ${step.call}`);
  const words = [number, ...step.args.map((argument) => data.valueOf(argument))];
  for (const [index, word] of words.entries()) into.writeBigInt64LE(BigInt(word), index * 8);
  const [first = 0, second = 0] = step.mayFailWith ?? [];
  into.writeUInt32LE(first, errorsOffset);
  into.writeUInt32LE(second, errorsOffset + 4);
}

/** What the arguments point to. */
class Data {
  readonly #parts: Uint8Array[] = [];
  #address: number;

  constructor(address: number) {
    this.#address = address;
  }

  /** The argument's value: itself, or where it has been laid. */
  valueOf(argument: Argument): number {
    if (typeof argument === 'number') return argument;
    if (typeof argument === 'string') return this.#place(Buffer.from(`${argument}\0`));
    if (argument instanceof Uint8Array) return this.#place(argument);
    if ('strings' in argument) {
      const addresses = argument.strings.map((text) => this.valueOf(text));
      return this.#place(words([...addresses, 0]));
    }
    const instructions = argument.filter.byteLength / 8;
    return this.#place(words([instructions, this.#place(argument.filter)]));
  }

  #place(bytes: Uint8Array): number {
    const address = this.#address;
    const padded = Buffer.alloc(Math.ceil(bytes.byteLength / 8) * 8);
    padded.set(bytes);
    this.#parts.push(padded);
    this.#address += padded.byteLength;
    return address;
  }

  bytes(): Uint8Array {
    return Buffer.concat(this.#parts);
  }
}

function words(values: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(values.length * 8);
  for (const [index, value] of values.entries()) bytes.writeBigUInt64LE(BigInt(value), index * 8);
  return bytes;
}

/** Elf64_Ehdr and two Elf64_Phdr: the whole file, readable and executable; a stack that is not. */
function writeHeaders(head: Buffer, fileSizeBytes: number): void {
  head.write('7f454c46020101', 'hex'); // magic, 64 bits, little-endian, version 1
  head.writeUInt16LE(2, 16); // e_type: ET_EXEC
  head.writeUInt16LE(62, 18); // e_machine: EM_X86_64
  head.writeUInt32LE(1, 20); // e_version
  head.writeBigUInt64LE(BigInt(baseAddress + codeOffset), 24); // e_entry
  head.writeBigUInt64LE(BigInt(fileHeaderSizeBytes), 32); // e_phoff
  head.writeUInt16LE(fileHeaderSizeBytes, 52); // e_ehsize
  head.writeUInt16LE(programHeaderSizeBytes, 54); // e_phentsize
  head.writeUInt16LE(2, 56); // e_phnum
  const load = head.subarray(fileHeaderSizeBytes);
  load.writeUInt32LE(1, 0); // p_type: PT_LOAD
  load.writeUInt32LE(5, 4); // p_flags: R, X
  load.writeBigUInt64LE(BigInt(baseAddress), 16); // p_vaddr
  load.writeBigUInt64LE(BigInt(baseAddress), 24); // p_paddr
  load.writeBigUInt64LE(BigInt(fileSizeBytes), 32); // p_filesz
  load.writeBigUInt64LE(BigInt(fileSizeBytes), 40); // p_memsz
  load.writeBigUInt64LE(BigInt(pageSizeBytes), 48); // p_align
  const stack = head.subarray(fileHeaderSizeBytes + programHeaderSizeBytes);
  stack.writeUInt32LE(0x6474_e551, 0); // p_type: PT_GNU_STACK
  stack.writeUInt32LE(6, 4); // p_flags: R, W
  stack.writeBigUInt64LE(16n, 48); // p_align
}
