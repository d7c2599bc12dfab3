/**
 * Requests to the kernel about network interfaces, as `ip link`, `ip addr` and `ip route` make
 * them, without starting a program for each. Source: rtnetlink(7), netlink(7), veth(4);
 * include/uapi/linux/{rtnetlink,if_link,veth,if_addr}.h.
 */

import { closeSync } from 'node:fs';

import { SystemCallError } from '../errors.ts';
import { errnoName, exchangeNetlink, openNetlinkSocket } from '../syscalls.ts';

const RTM_NEWLINK = 16;
const RTM_NEWADDR = 20;
const RTM_NEWROUTE = 24;
const NLMSG_ERROR = 2;
const NLM_F_REQUEST = 0x1;
const NLM_F_ACK = 0x4;
const NLM_F_EXCL = 0x200;
const NLM_F_CREATE = 0x400;
const headerSizeBytes = 16;

const IFLA_IFNAME = 3;
const IFLA_LINKINFO = 18;
const IFLA_NET_NS_FD = 28;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const VETH_INFO_PEER = 1;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const IFF_UP = 1;

const AF_INET = 2;
const RT_TABLE_MAIN = 254;
const RTPROT_STATIC = 4;
const RTN_UNICAST = 1;

/** Four bytes of an IPv4 address in their usual order. */
export type Ipv4 = readonly [number, number, number, number];

export interface VethPair {
  /** Of this thread's network namespace; up to 15 characters. */
  readonly name: string;
  /** Of the namespace that `peerNamespaceFd` names. */
  readonly peerName: string;
  readonly peerNamespaceFd: number;
}

/** Two interfaces joined by a cable; both down. Throws `EEXIST` for a name that is taken. */
export function createVethPair({ name, peerName, peerNamespaceFd }: VethPair): void {
  const peer = Buffer.concat([
    interfaceHeader(0, 0),
    attribute(IFLA_IFNAME, text(peerName)),
    attribute(IFLA_NET_NS_FD, u32(peerNamespaceFd)),
  ]);
  const info = [
    attribute(IFLA_INFO_KIND, text('veth')),
    attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, peer)),
  ];
  request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, [
    interfaceHeader(0, 0),
    attribute(IFLA_IFNAME, text(name)),
    attribute(IFLA_LINKINFO, Buffer.concat(info)),
  ]);
}

/** Gives an interface of this thread's network namespace its address, and sets it up. */
export function addAddress(index: number, address: Ipv4, prefixLength: number): void {
  request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, [
    Buffer.concat([Buffer.from([AF_INET, prefixLength, 0, 0]), u32(index)]), // ifaddrmsg
    attribute(IFA_LOCAL, Buffer.from(address)),
    attribute(IFA_ADDRESS, Buffer.from(address)),
  ]);
  request(RTM_NEWLINK, 0, [interfaceHeader(index, IFF_UP)]);
}

/** Everything that no other route takes goes to `gateway`. */
export function addDefaultRoute(index: number, gateway: Ipv4): void {
  // rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type; flags.
  const route = [AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST, 0, 0, 0, 0];
  request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, [
    Buffer.from(route),
    attribute(RTA_GATEWAY, Buffer.from(gateway)),
    attribute(RTA_OIF, u32(index)),
  ]);
}

/** ifinfomsg: family, type, index, flags and which of them to change. */
function interfaceHeader(index: number, flags: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(flags, 8);
  bytes.writeUInt32LE(flags, 12);
  return bytes;
}

/** rtattr: u16 length, u16 type, then the value, padded to 4 bytes. */
function attribute(type: number, value: Uint8Array): Buffer {
  const length = 4 + value.byteLength;
  const bytes = Buffer.alloc(Math.ceil(length / 4) * 4);
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  bytes.set(value, 4);
  return bytes;
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** Sends one request and waits for its answer, which the kernel has at once. */
function request(type: number, flags: number, parts: readonly Uint8Array[]): void {
  const body = Buffer.concat(parts);
  const header = Buffer.alloc(headerSizeBytes); // nlmsghdr: length, type, flags, sequence, port
  header.writeUInt32LE(headerSizeBytes + body.byteLength, 0);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(NLM_F_REQUEST | NLM_F_ACK | flags, 6);
  const fd = openNetlinkSocket();
  try {
    const answer = exchangeNetlink(fd, Buffer.concat([header, body]));
    const errno = answer.readUInt16LE(4) === NLMSG_ERROR ? -answer.readInt32LE(headerSizeBytes) : 0;
    if (errno !== 0) throw new SystemCallError('netlink', errnoName(errno));
  } finally {
    closeSync(fd);
  }
}
