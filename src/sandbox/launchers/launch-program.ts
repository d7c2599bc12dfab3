/**
 * Makes a program that does nothing but a list of system calls, one after the other, up to the one
 * that becomes another program; or one that waits for the rest of its list. Pure.
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

/** Of what a program writes to descriptor 3: the step that failed, and the error's number. */
export interface StepFailure {
  readonly step: Step;
  readonly errno: number;
}

export interface LaunchProgram {
  /** The contents of an executable file. */
  readonly bytes: Uint8Array;
  /** Undefined for what is no report of these steps. */
  failureOf(report: Uint8Array): StepFailure | undefined;
}

/** A program that waits in the midst of its life for the rest of its steps. */
export interface WaitingProgram extends LaunchProgram {
  /** The rest, to be written to the file that the program was told of. */
  continueWith(steps: readonly Step[]): LaunchProgram;
}

/** Where the file lies in memory. */
const baseAddress = 0x40_0000;
const fileHeaderSizeBytes = 64;
const programHeaderSizeBytes = 56;
const codeOffset = fileHeaderSizeBytes + 3 * programHeaderSizeBytes;
/** What the steps point to, then the steps; on pages of their own, which can be written. */
const dataOffset = 4096;
/** Number, six arguments, two errors of 32 bits. */
const stepSizeBytes = 64;
const errorsOffset = 56;
const reportSizeBytes = 16;
/** The code below knows it, too. */
const reportFd = 3;
const pageSizeBytes = 4096;
/** For steps that come later and what they point to: more than a command and its environment may be. */
const continuationSizeMaxBytes = 16 * 1024 * 1024;

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

/** The steps must end in one that becomes another program, or ends this one. */
export function launchProgram(steps: readonly Step[]): LaunchProgram {
  const data = new Data(baseAddress + dataOffset);
  const table = encodeSteps(steps, data);
  const tableAddress = data.end;
  const rest = Buffer.concat([data.bytes(), table]);
  return { bytes: file(tableAddress, rest), failureOf: failures(steps, tableAddress) };
}

/**
 * Does `steps`, waits for a byte on descriptor 3 and goes on with what the file `programFd` holds
 * then. Ends if that is nothing.
 */
export function waitingProgram(steps: readonly Step[], programFd: number): WaitingProgram {
  const data = new Data(baseAddress + dataOffset);
  const signal = data.valueOf(new Uint8Array(8));
  // What the steps point to has its place before them, so that their own place is known after one try.
  const dry = encodeSteps(steps, data);
  const tableAddress = data.end;
  const continuation = tableAddress + dry.byteLength + 2 * stepSizeBytes;
  const reading: readonly Step[] = [
    { call: 'read', args: [reportFd, signal, 1] },
    { call: 'pread64', args: [programFd, continuation, continuationSizeMaxBytes, 0] },
    { call: 'exit_group', args: [0] }, // lies where the rest will
  ];
  const rest = Buffer.concat([data.bytes(), dry, encodeSteps(reading, data)]);
  return {
    bytes: file(tableAddress, rest),
    failureOf: failures([...steps, ...reading.slice(0, 2)], tableAddress),
    continueWith: (more) => {
      const moreData = new Data(continuation + more.length * stepSizeBytes);
      const table = encodeSteps(more, moreData);
      const bytes = Buffer.concat([table, moreData.bytes()]);
      return { bytes, failureOf: failures(more, continuation) };
    },
  };
}

function encodeSteps(steps: readonly Step[], data: Data): Uint8Array {
  const table = Buffer.alloc(steps.length * stepSizeBytes);
  for (const [index, step] of steps.entries()) {
    encodeStep(step, table.subarray(index * stepSizeBytes), data);
  }
  return table;
}

/** The report is the address of the step, then the error. */
function failures(steps: readonly Step[], address: number): LaunchProgram['failureOf'] {
  return (report) => {
    if (report.byteLength < reportSizeBytes) return undefined;
    const view = Buffer.from(report);
    const step = steps[(Number(view.readBigUInt64LE(0)) - address) / stepSizeBytes];
    return step === undefined ? undefined : { step, errno: view.readUInt32LE(8) };
  };
}

/** `rest` begins with what is not steps; the first of those is at `firstStepAddress`. */
function file(firstStepAddress: number, rest: Uint8Array): Uint8Array {
  const head = Buffer.alloc(dataOffset);
  head.set(code, codeOffset);
  head.writeUInt32LE(firstStepAddress, codeOffset + firstStepAt);
  writeHeaders(head, rest.byteLength);
  return Buffer.concat([head, rest]);
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

  /** The address after all. */
  get end(): number {
    return this.#address;
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

/**
 * Elf64_Ehdr and three Elf64_Phdr: the code, which can be run; the steps with room for more, which
 * can be written; a stack.
 */
function writeHeaders(head: Buffer, restSizeBytes: number): void {
  head.write('7f454c46020101', 'hex'); // magic, 64 bits, little-endian, version 1
  head.writeUInt16LE(2, 16); // e_type: ET_EXEC
  head.writeUInt16LE(62, 18); // e_machine: EM_X86_64
  head.writeUInt32LE(1, 20); // e_version
  head.writeBigUInt64LE(BigInt(baseAddress + codeOffset), 24); // e_entry
  head.writeBigUInt64LE(BigInt(fileHeaderSizeBytes), 32); // e_phoff
  head.writeUInt16LE(fileHeaderSizeBytes, 52); // e_ehsize
  head.writeUInt16LE(programHeaderSizeBytes, 54); // e_phentsize
  head.writeUInt16LE(3, 56); // e_phnum
  const [load, stack] = [1, 0x6474_e551]; // PT_LOAD, PT_GNU_STACK
  const [executable, writable, readable] = [1, 2, 4];
  const roomSizeBytes = restSizeBytes + continuationSizeMaxBytes;
  writeSegment(head, 0, [load, readable | executable, 0, dataOffset, dataOffset]);
  writeSegment(head, 1, [load, readable | writable, dataOffset, restSizeBytes, roomSizeBytes]);
  writeSegment(head, 2, [stack, readable | writable, 0, 0, 0]);
}

/** Elf64_Phdr, of its p_type, p_flags, p_offset, p_filesz and p_memsz. */
function writeSegment(
  head: Buffer,
  index: number,
  [type, flags, offset, fileSize, memorySize]: readonly [number, number, number, number, number],
): void {
  const header = head.subarray(fileHeaderSizeBytes + index * programHeaderSizeBytes);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(flags, 4);
  header.writeBigUInt64LE(BigInt(offset), 8);
  header.writeBigUInt64LE(BigInt(baseAddress + offset), 16); // p_vaddr
  header.writeBigUInt64LE(BigInt(baseAddress + offset), 24); // p_paddr
  header.writeBigUInt64LE(BigInt(fileSize), 32);
  header.writeBigUInt64LE(BigInt(memorySize), 40);
  header.writeBigUInt64LE(BigInt(pageSizeBytes), 48); // p_align
}
