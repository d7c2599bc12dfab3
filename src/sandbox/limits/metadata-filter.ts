/**
 * Keeps the processes of a control group from sending anything to link-local addresses, and to
 * AWS's fd00:ec2::/32, where clouds tell a machine's credentials to whoever asks from it. For
 * sandboxes in the host's own network, where no rule of a firewall could tell them from the rest.
 *
 * A program for the kernel's BPF machine, run for each packet that a socket of the group sends.
 * Source: kernel, Documentation/bpf/prog_cgroup_sockopt and standardization/instruction-set.rst;
 * include/uapi/linux/bpf.h.
 */

import { closeSync, openSync } from 'node:fs';

import { attachEgressFilter } from '../syscalls.ts';

/** Operations, with the class of the instruction. */
const MOVE = 0xbf;
const MOVE_VALUE = 0xb7;
const ADD_VALUE = 0x07;
const AND_VALUE = 0x57;
const LOAD_WORD = 0x61;
const STORE_WORD = 0x63;
const CALL = 0x85;
const EXIT = 0x95;
/** Compare 32 bits. */
const JUMP_IF_EQUAL = 0x16;
const JUMP_IF_NOT_EQUAL = 0x56;
const helperLoadBytes = 26;

/** __sk_buff.protocol; the packet itself begins with the header of IP. */
const protocolOffset = 16;
const ipv4 = 0x0008; // 0x0800 in the byte order of networks
const ipv6 = 0xdd86;
const ipv4DestinationOffset = 16;
const ipv6DestinationOffset = 24;

type Instruction = readonly [
  operation: number,
  destination: number,
  source: number,
  offset: number,
  value: number,
];

/** Copies four bytes of the packet onto the stack and from there into register 1; 0 in register 0. */
function loadPacketWord(offset: number): readonly Instruction[] {
  return [
    [MOVE, 1, 6, 0, 0],
    [MOVE_VALUE, 2, 0, 0, offset],
    [MOVE, 3, 10, 0, 0],
    [ADD_VALUE, 3, 0, 0, -8],
    [MOVE_VALUE, 4, 0, 0, 4],
    [CALL, 0, 0, 0, helperLoadBytes],
    [LOAD_WORD, 1, 10, -8, 0],
    [MOVE, 2, 1, 0, 0],
  ];
}

/** Each jump skips as many instructions as its third number says. */
function program(): readonly Instruction[] {
  const refuse: readonly Instruction[] = [
    [MOVE_VALUE, 0, 0, 0, 0],
    [EXIT, 0, 0, 0, 0],
  ];
  const allow: readonly Instruction[] = [
    [MOVE_VALUE, 0, 0, 0, 1],
    [EXIT, 0, 0, 0, 0],
  ];
  // Addresses as the machine reads them, the first byte lowest: 169.254/16; fd00:0ec2/32; fe80::/10.
  const ofVersion4: readonly Instruction[] = [
    ...loadPacketWord(ipv4DestinationOffset),
    [AND_VALUE, 2, 0, 0, 0xffff],
    [JUMP_IF_EQUAL, 2, 0, 2, 0xfea9],
    ...allow,
    ...refuse,
  ];
  const ofVersion6: readonly Instruction[] = [
    ...loadPacketWord(ipv6DestinationOffset),
    [JUMP_IF_EQUAL, 1, 0, 4, 0xc20e_00fd | 0],
    [AND_VALUE, 2, 0, 0, 0xc0ff],
    [JUMP_IF_EQUAL, 2, 0, 2, 0x80fe],
    ...allow,
    ...refuse,
  ];
  return [
    [MOVE, 6, 1, 0, 0],
    [MOVE_VALUE, 1, 0, 0, 0],
    [STORE_WORD, 10, 1, -8, 0],
    [LOAD_WORD, 7, 6, protocolOffset, 0],
    [JUMP_IF_NOT_EQUAL, 7, 0, ofVersion4.length, ipv4],
    ...ofVersion4,
    [JUMP_IF_EQUAL, 7, 0, allow.length, ipv6],
    ...allow,
    ...ofVersion6,
  ];
}

/** bpf_insn: u8 code, 4 bits each of destination and source register, s16 offset, s32 value. */
function encode(instructions: readonly Instruction[]): Uint8Array {
  const bytes = Buffer.alloc(instructions.length * 8);
  for (const [index, [operation, destination, source, offset, value]] of instructions.entries()) {
    bytes.writeUInt8(operation, index * 8);
    bytes.writeUInt8(destination | (source << 4), index * 8 + 1);
    bytes.writeInt16LE(offset, index * 8 + 2);
    bytes.writeInt32LE(value, index * 8 + 4);
  }
  return bytes;
}

/** Of the control group of version 2 at `directory`, for as long as it exists. */
export function blockMetadata(directory: string): void {
  const groupFd = openSync(directory, 'r');
  try {
    attachEgressFilter(groupFd, encode(program()));
  } finally {
    closeSync(groupFd);
  }
}
