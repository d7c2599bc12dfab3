/**
 * The system calls that Node does not offer, through koffi; the only file of the room that loads
 * it. They run on the calling thread, which the per-thread ones (`unshare`, `setns`) need. Each
 * throws `ERR_SANDBOX_SYSTEM_CALL` with the errno's name.
 */

import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';

import koffi from 'koffi';

import { SystemCallError } from './errors.ts';

/** Source of the numbers: the kernel's uapi headers; the same on x86-64 and arm64. */
export const CLONE_NEWNET = 0x4000_0000;
const CLONE_NEWPID = 0x2000_0000;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_NETLINK = 16;
const NETLINK_ROUTE = 0;
const SOCK_RAW = 3;
const netlinkAnswerMaxBytes = 8192;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2_000_000;
const O_CLOEXEC = 0o2_000_000;
const O_NONBLOCK = 0o4000;
const O_PATH = 0o10_000_000;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;
const IFREQ_SIZE_BYTES = 40;
const IFREQ_FLAGS_OFFSET = 16;
const SYS_OPENAT2 = 437;
const SYS_CLOSE_RANGE = 436;
const CLOSE_RANGE_CLOEXEC = 4;
const FD_MAX = 0x7fff_ffff;
const MFD_CLOEXEC = 1;
const MFD_EXEC = 0x10;
const RESOLVE_IN_ROOT = 0x10;
const OPEN_HOW_SIZE_BYTES = 24;
/** Three threads that do nothing but rename make an open fail up to four times in a row. */
const openAttemptsMax = 100;
const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;
const MS_RDONLY = 1;
const MNT_DETACH = 2;

const SYS_BPF = process.arch === 'arm64' ? 280 : 321;
const BPF_PROG_LOAD = 5;
const BPF_PROG_ATTACH = 8;
const BPF_PROG_TYPE_CGROUP_SKB = 8;
const BPF_CGROUP_INET_EGRESS = 1;
const BPF_F_ALLOW_MULTI = 2;

/** The first fields of union bpf_attr for either command. */
const bpfLoad = koffi.struct('thaw_bpf_load', {
  prog_type: 'uint32_t',
  insn_cnt: 'uint32_t',
  insns: 'const uint8_t *',
  license: 'const char *',
  log: koffi.array('uint8_t', 44),
  expected_attach_type: 'uint32_t',
});
const bpfAttach = koffi.struct('thaw_bpf_attach', {
  target_fd: 'uint32_t',
  attach_bpf_fd: 'uint32_t',
  attach_type: 'uint32_t',
  attach_flags: 'uint32_t',
});

/** More than any C library's posix_spawnattr_t and posix_spawn_file_actions_t take. */
const spawnStructMaxBytes = 512;
const signalSetSizeBytes = 128;
const POSIX_SPAWN_SETSIGDEF = 4;
const POSIX_SPAWN_SETSIGMASK = 8;
/** Not much below the lowest limit on open files that is usual, 1,024. */
const passingFd = 900;

const library = koffi.load(null);
const calls = {
  unshare: library.func('int unshare(int flags)'),
  setns: library.func('int setns(int fd, int type)'),
  socket: library.func('int socket(int domain, int type, int protocol)'),
  bind: library.func('int bind(int fd, const uint8_t *address, uint32_t length)'),
  connect: library.func('int connect(int fd, const uint8_t *address, uint32_t length)'),
  send: library.func('long send(int fd, const uint8_t *data, size_t length, int flags)'),
  recv: library.func('long recv(int fd, uint8_t *data, size_t length, int flags)'),
  ifNameToIndex: library.func('unsigned int if_nametoindex(const char *name)'),
  listen: library.func('int listen(int fd, int backlog)'),
  ioctl: library.func('int ioctl(int fd, unsigned long request, const uint8_t *argument)'),
  openat2: library.func(
    'long syscall(long number, long dirfd, const char *path, const uint8_t *how, size_t length)',
  ),
  memfdCreate: library.func('int memfd_create(const char *name, unsigned int flags)'),
  bpfLoad: library.func(
    'long syscall(long number, long command, const thaw_bpf_load *attributes, size_t length)',
  ),
  bpfAttach: library.func(
    'long syscall(long number, long command, const thaw_bpf_attach *attributes, size_t length)',
  ),
  closeRange: library.func('long syscall(long number, long first, long last, long flags)'),
  pipe2: library.func('int pipe2(_Out_ int *fds, int flags)'),
  socketpair: library.func('int socketpair(int domain, int type, int protocol, _Out_ int *fds)'),
  attributesInit: library.func('int posix_spawnattr_init(uint8_t *attributes)'),
  attributesDefaults: library.func(
    'int posix_spawnattr_setsigdefault(uint8_t *attributes, const uint8_t *signals)',
  ),
  attributesMask: library.func(
    'int posix_spawnattr_setsigmask(uint8_t *attributes, const uint8_t *signals)',
  ),
  attributesFlags: library.func('int posix_spawnattr_setflags(uint8_t *attributes, short flags)'),
  actionsInit: library.func('int posix_spawn_file_actions_init(uint8_t *actions)'),
  actionsDup: library.func(
    'int posix_spawn_file_actions_adddup2(uint8_t *actions, int fd, int as)',
  ),
  actionsDestroy: library.func('int posix_spawn_file_actions_destroy(uint8_t *actions)'),
  spawn: library.func(
    'int posix_spawn(_Out_ int *pid, const char *path, const uint8_t *actions, const uint8_t *attributes, const char **args, const char **environment)',
  ),
  prctl: library.func('int prctl(int option, unsigned long a, long b, long c, long d)'),
  waitpid: library.func('int waitpid(int pid, _Out_ int *status, int options)'),
  mount: library.func(
    'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
  ),
  umount2: library.func('int umount2(const char *target, int flags)'),
};

/** Of a number with two names, as EAGAIN and EWOULDBLOCK, the one that comes first in the alphabet. */
const errnoNames = new Map(
  Object.entries(constants.errno)
    .toSorted(([a], [b]) => (a < b ? 1 : -1))
    .map(([name, code]) => [code, name]),
);

/** As in `EPERM`. */
export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `errno ${errno}`;
}

/** Calls, and throws when the answer says that it failed. */
function checked(name: keyof typeof calls, ...args: unknown[]): number {
  const result = Number((calls[name] as (...args: unknown[]) => unknown)(...args));
  if (result < 0) throw new SystemCallError(name, errnoName(koffi.errno()));
  return result;
}

/** Moves this thread into new namespaces. */
export function unshare(flags: number): void {
  checked('unshare', flags);
}

/** Moves this thread into the namespace that `fd` names; `type` is the CLONE_ flag it must have. */
export function setns(fd: number, type: number): void {
  checked('setns', fd, type);
}

/** sockaddr_in of 127.0.0.1: family in host order, port and address in network order. */
function loopbackAddress(port: number): Buffer {
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET, 0);
  address.writeUInt16BE(port, 2);
  address.set([127, 0, 0, 1], 4);
  return address;
}

/** A TCP socket of this thread's network namespace, wherever it is used later; never blocks. */
export function openTcpSocket(): number {
  return checked('socket', AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/**
 * Begins to connect a socket to 127.0.0.1, or asks how that went: true once connected, false while
 * it takes its time.
 */
export function connectToLoopback(fd: number, port: number): boolean {
  const address = loopbackAddress(port);
  try {
    checked('connect', fd, address, address.byteLength);
    return true;
  } catch (thrown) {
    const errno = thrown instanceof SystemCallError ? thrown.errno : undefined;
    if (errno === 'EISCONN') return true;
    if (errno === 'EINPROGRESS' || errno === 'EALREADY') return false;
    throw thrown;
  }
}

/**
 * A listening TCP socket of this thread's network namespace on 127.0.0.1; close it, or give it to a
 * server.
 */
export function listenOnLoopback(port: number): number {
  const fd = openTcpSocket();
  const address = loopbackAddress(port);
  checked('bind', fd, address, address.byteLength);
  checked('listen', fd, 128);
  return fd;
}

/** For requests about the interfaces of this thread's network namespace. */
export function openNetlinkSocket(): number {
  return checked('socket', AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

/** Sends one request that asks for an acknowledgement; the answer is there when this returns. */
export function exchangeNetlink(fd: number, request: Uint8Array): Buffer {
  checked('send', fd, request, request.byteLength, 0);
  const answer = Buffer.alloc(netlinkAnswerMaxBytes);
  return answer.subarray(0, checked('recv', fd, answer, answer.byteLength, 0));
}

/** Of an interface of this thread's network namespace; undefined if there is none of that name. */
export function interfaceIndex(name: string): number | undefined {
  const index = calls.ifNameToIndex(name) as number;
  return index === 0 ? undefined : index;
}

/** Sets the loopback interface of the network namespace of the socket `fd` up. */
export function bringLoopbackUp(fd: number): void {
  const request = Buffer.alloc(IFREQ_SIZE_BYTES);
  request.write('lo', 0, 'latin1');
  request.writeInt16LE(IFF_UP, IFREQ_FLAGS_OFFSET);
  checked('ioctl', fd, SIOCSIFFLAGS, request);
}

/**
 * Opens `path` as a process would whose root directory is `root`: symlinks and `..` cannot lead out
 * of it. Never blocks, not even on a FIFO. With `pathOnly` the descriptor serves for `fstat` alone.
 * Needs Linux 5.6.
 *
 * openat2(2) gives EAGAIN where it cannot tell that a `..` stayed inside, because something anywhere
 * on the machine was renamed or mounted meanwhile; it is asked again then.
 */
export function openInRoot(
  root: string,
  path: string,
  { pathOnly }: { pathOnly: boolean },
): number {
  const how = Buffer.alloc(OPEN_HOW_SIZE_BYTES); // open_how: flags, mode, resolve
  how.writeBigUInt64LE(BigInt(O_CLOEXEC | (pathOnly ? O_PATH : O_NONBLOCK)), 0);
  how.writeBigUInt64LE(BigInt(RESOLVE_IN_ROOT), 16);
  const rootFd = openSync(root, O_PATH | O_CLOEXEC);
  try {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return checked('openat2', SYS_OPENAT2, rootFd, path, how, OPEN_HOW_SIZE_BYTES);
      } catch (thrown) {
        const isRace = thrown instanceof SystemCallError && thrown.errno === 'EAGAIN';
        if (!isRace || attempt === openAttemptsMax) throw thrown;
      }
    }
  } finally {
    closeSync(rootFd);
  }
}

/** Two ends of a connection, each for reading and writing, that no child inherits unless given. */
export function socketPair(): readonly [number, number] {
  const fds = [0, 0];
  checked('socketpair', AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
  return [fds[0] ?? -1, fds[1] ?? -1];
}

/**
 * Starts a program as a child of this thread, with no arguments, no environment, no signal ignored
 * or blocked, and `fds` as its descriptors from 0 on; the caller reaps it. Unlike Node's `spawn` it
 * does not copy this process's page tables first, during which nothing else of it would go on: that
 * takes 2 ms of a small process and 60 ms of a large one on a busy machine.
 */
export function spawnProgram(path: string, fds: readonly number[]): number {
  const attributes = Buffer.alloc(spawnStructMaxBytes);
  const actions = Buffer.alloc(spawnStructMaxBytes);
  calls.attributesInit(attributes);
  calls.attributesDefaults(attributes, Buffer.alloc(signalSetSizeBytes, 0xff));
  calls.attributesMask(attributes, Buffer.alloc(signalSetSizeBytes));
  calls.attributesFlags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  calls.actionsInit(actions);
  try {
    // By way of numbers that nothing has, lest one that is still wanted is overwritten.
    for (const [index, fd] of fds.entries()) calls.actionsDup(actions, fd, passingFd + index);
    for (const [index] of fds.entries()) calls.actionsDup(actions, passingFd + index, index);
    const pid = [0];
    const errno = calls.spawn(pid, path, actions, attributes, ['thaw', null], [null]) as number;
    if (errno !== 0) throw new SystemCallError('posix_spawn', errnoName(errno));
    return pid[0] ?? -1;
  } finally {
    calls.actionsDestroy(actions);
  }
}

/** A pipe that no child inherits unless it is given an end. */
export function pipe(): { readonly readFd: number; readonly writeFd: number } {
  const fds = [0, 0];
  checked('pipe2', fds, O_CLOEXEC);
  return { readFd: fds[0] ?? -1, writeFd: fds[1] ?? -1 };
}

/**
 * Keeps what this process was started with, or opened without care, from being handed on to its
 * children. Needs Linux 5.11.
 */
export function closeInheritedOnExec(): void {
  checked('closeRange', SYS_CLOSE_RANGE, 3, FD_MAX, CLOSE_RANGE_CLOEXEC);
}

/**
 * From now on orphaned descendants become children of this process, so that it can wait for them.
 */
export function becomeSubreaper(): void {
  checked('prctl', PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/**
 * The wait status of a child that has ended, after which its pid is free; undefined while it runs.
 */
export function reapChild(pid: number): number | undefined {
  const status = [0];
  return checked('waitpid', pid, status, WNOHANG) === 0 ? undefined : status[0];
}

/** Mounts read-only layers, the first on top, as one read-only tree. */
export function mountReadOnlyOverlay(layers: readonly string[], target: string): void {
  const escaped = layers.map((layer) => layer.replaceAll(/[\\:,]/g, String.raw`\$&`));
  checked('mount', 'overlay', target, 'overlay', MS_RDONLY, `lowerdir=${escaped.join(':')}`);
}

/**
 * Has `program`, instructions of the kernel's BPF machine, decide about each packet that the
 * processes of a control group of version 2 send. It stays as long as the group.
 */
export function attachEgressFilter(groupFd: number, program: Uint8Array): void {
  const load = {
    prog_type: BPF_PROG_TYPE_CGROUP_SKB,
    insn_cnt: program.byteLength / 8,
    insns: program,
    license: 'Apache-2.0',
    log: new Uint8Array(44),
    expected_attach_type: BPF_CGROUP_INET_EGRESS,
  };
  const programFd = checked('bpfLoad', SYS_BPF, BPF_PROG_LOAD, load, koffi.sizeof(bpfLoad));
  try {
    const attach = {
      target_fd: groupFd,
      attach_bpf_fd: programFd,
      attach_type: BPF_CGROUP_INET_EGRESS,
      attach_flags: BPF_F_ALLOW_MULTI,
    };
    checked('bpfAttach', SYS_BPF, BPF_PROG_ATTACH, attach, koffi.sizeof(bpfAttach));
  } finally {
    closeSync(programFd);
  }
}

/** An empty file of memory, without a name, that can be run. Needs Linux 6.3. */
export function openExecutableMemory(name: string): number {
  return checked('memfdCreate', name, MFD_CLOEXEC | MFD_EXEC);
}

/**
 * Does `work`, which must be synchronous, while children of this thread begin a pid namespace:
 * `namespaceFd`, or a new one, of which the first child is process 1. No thread can be started
 * meanwhile.
 */
export function withPidNamespace<T>(namespaceFd: number | undefined, work: () => T): T {
  const ownFd = openSync('/proc/thread-self/ns/pid', 'r');
  try {
    if (namespaceFd === undefined) unshare(CLONE_NEWPID);
    else setns(namespaceFd, CLONE_NEWPID);
    try {
      return work();
    } finally {
      returnTo(ownFd, CLONE_NEWPID);
    }
  } finally {
    closeSync(ownFd);
  }
}

/**
 * Goes back into this thread's own namespace. A thread that stayed in a sandbox's could start no
 * thread, or talk to nobody, ever after: ending is the lesser harm.
 */
export function returnTo(ownFd: number, type: number): void {
  try {
    setns(ownFd, type);
  } catch (thrown) {
    process.stderr.write(`Cannot leave a sandbox's namespace: ${String(thrown)}\n`);
    process.abort();
  }
}

/** Takes the mount out of the tree at once; it ends when its last user does. */
export function detachMount(target: string): void {
  checked('umount2', target, MNT_DETACH);
}
