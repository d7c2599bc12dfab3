/**
 * The system calls that make a sandbox's main process out of a fresh one, and a further process of
 * a sandbox that runs. Pure. What is mounted, hidden, dropped and filtered is what the other
 * runtimes are told in `oci-config.ts`, in the order in which runc does it. Two things differ: no
 * CAP_MKNOD, so that no device but those made here can ever be opened, whatever the control groups
 * allow; and the sandbox dies with the worker.
 *
 * Everything inside the image is done after its root has become the process's own, so that no
 * symlink of the image leads anywhere else. Sources: the manual pages of each call, pivot_root(2)
 * and capabilities(7) above all.
 */

import { constants } from 'node:os';

import type { ImageUser } from '../root/image-user.ts';
import type { Step } from './launch-program.ts';
import type { LaunchProcess } from './launcher.ts';
import { maskedPaths, oomScoreAdjustment, openFilesSoft, readonlyPaths } from './oci-config.ts';

/** What every process is given beside the standard streams. */
export const statusFd = 3;
/** Of a sandbox's main process: where its later steps come. */
export const laterStepsFd = 4;

const { ENOENT, ENOTDIR, EINVAL, EACCES, ENOSYS } = constants.errno;
const AT_FDCWD = -100;

/** Source: include/uapi/linux/mount.h. */
const MS_RDONLY = 0x1;
const MS_NOSUID = 0x2;
const MS_NODEV = 0x4;
const MS_NOEXEC = 0x8;
const MS_REMOUNT = 0x20;
const MS_BIND = 0x1000;
const MS_REC = 0x4000;
const MS_PRIVATE = 0x4_0000;
const MS_STRICTATIME = 0x100_0000;
const MNT_DETACH = 2;
const MOUNT_ATTR_RDONLY = 0x1;
const MOUNT_ATTR_NOSUID = 0x2;
const MOUNT_ATTR_NODEV = 0x4;
const OPEN_TREE_CLONE = 1;
const AT_EMPTY_PATH = 0x1000;
const MOVE_MOUNT_F_EMPTY_PATH = 0x4;
const MOVE_MOUNT_T_SYMLINKS = 0x10;
const closed = MS_NOSUID | MS_NODEV | MS_NOEXEC;

/** Source: include/uapi/linux/sched.h. */
const CLONE_NEWNS = 0x2_0000;
const CLONE_NEWCGROUP = 0x200_0000;
const CLONE_NEWUTS = 0x400_0000;
const CLONE_NEWIPC = 0x800_0000;
const CLONE_NEWNET = 0x4000_0000;

/** Source: include/uapi/linux/prctl.h, seccomp.h, resource.h, close_range.h, keyctl.h. */
const PR_SET_PDEATHSIG = 1;
const PR_SET_DUMPABLE = 4;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const SECCOMP_SET_MODE_FILTER = 1;
const RLIMIT_NOFILE = 7;
const CLOSE_RANGE_CLOEXEC = 4;
const KEYCTL_JOIN_SESSION_KEYRING = 1;
const SIGKILL = 9;
const O_WRONLY = 1;
const fdMax = 0x7fff_ffff;

const S_IFCHR = 0o020_000;
/** Name, major and minor number. Source: kernel, Documentation/admin-guide/devices.txt. */
const devices: readonly (readonly [string, number, number])[] = [
  ['null', 1, 3],
  ['zero', 1, 5],
  ['full', 1, 7],
  ['random', 1, 8],
  ['urandom', 1, 9],
  ['tty', 5, 0],
];
const deviceLinks: readonly (readonly [string, string])[] = [
  ['/proc/self/fd', 'fd'],
  ['/proc/self/fd/0', 'stdin'],
  ['/proc/self/fd/1', 'stdout'],
  ['/proc/self/fd/2', 'stderr'],
  ['pts/ptmx', 'ptmx'],
];

/** By name, their numbers. Source: include/uapi/linux/capability.h. */
const capabilityNumbers: Readonly<Record<string, number>> = {
  CAP_CHOWN: 0,
  CAP_DAC_OVERRIDE: 1,
  CAP_FOWNER: 3,
  CAP_FSETID: 4,
  CAP_KILL: 5,
  CAP_SETGID: 6,
  CAP_SETUID: 7,
  CAP_SETPCAP: 8,
  CAP_NET_BIND_SERVICE: 10,
  CAP_NET_RAW: 13,
  CAP_SYS_CHROOT: 18,
  CAP_AUDIT_WRITE: 29,
  CAP_SETFCAP: 31,
};
const capabilityNumberMax = 63;
const LINUX_CAPABILITY_VERSION_3 = 0x2008_0522;

/** How a process comes under a sandbox's limits. */
export interface LimitSteps {
  readonly openFilesMax: number;
  /** Open for writing: a group's `cgroup.procs` each. */
  readonly cgroupFds: readonly number[];
  /** The lowest descriptor that nothing was given as. */
  readonly freeFd: number;
}

export interface PlaceSteps extends LimitSteps {
  /** Undefined: the network stays as it is. */
  readonly networkFd: number | undefined;
}

export interface ProcessSteps {
  readonly process: LaunchProcess;
  /** A program of classic BPF. */
  readonly seccompFilter: Uint8Array;
}

/** Of the paths to hide those that are known, which are the same for all sandboxes of a machine. */
export type HiddenKinds = ReadonlyMap<string, 'file' | 'directory'>;

export interface SandboxSteps extends ProcessSteps {
  readonly hiddenKinds: HiddenKinds;
  readonly hostname: string;
  readonly tmpSizeBytes: number;
  readonly rootPath: string;
  /** A directory of the host, which only this process will see the root on. */
  readonly rootTarget: string;
  /** What to show inside: target to source. */
  readonly binds: ReadonlyMap<string, string>;
  /** Mount options of the control groups of version 1; empty: version 2. */
  readonly cgroupOptions: readonly string[];
}

export interface JoinSteps extends ProcessSteps, LimitSteps {
  /** Of the sandbox, its mount namespace last. */
  readonly namespaceFds: readonly number[];
}

function step(call: string, args: Step['args'], mayFailWith: readonly number[] = []): Step {
  return { call, args, mayFailWith };
}

/** Process 1 of a new pid namespace gets all of a sandbox that can be had before its root. */
export function placeSteps(wanted: PlaceSteps): readonly Step[] {
  return [
    ...underLimits(wanted),
    step('prctl', [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]),
    ...(wanted.networkFd === undefined ? [] : [step('setns', [wanted.networkFd, CLONE_NEWNET])]),
    step('unshare', [CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP]),
    step('close_range', [laterStepsFd + 1, fdMax, 0]),
  ];
}

/** What went through `placeSteps` becomes the sandbox's main process. */
export function sandboxSteps(wanted: SandboxSteps): readonly Step[] {
  const rootFd = laterStepsFd + 1;
  const sources = [wanted.rootPath, ...wanted.binds.values()];
  return [
    step('unshare', [CLONE_NEWNS]),
    step('mount', ['none', '/', 0, MS_REC | MS_PRIVATE, 0]),
    ...sources.flatMap((path, index) => openReadOnly(path, rootFd + index)),
    ...enterRoot(rootFd, wanted.rootTarget),
    step('umask', [0]),
    ...kernelFilesystems(wanted.cgroupOptions),
    ...deviceFiles(),
    ...hiddenFiles(wanted.hiddenKinds),
    mount('tmpfs', '/tmp', MS_NOSUID | MS_NODEV, `mode=1777,size=${wanted.tmpSizeBytes}`),
    ...[...wanted.binds.keys()].map((target, index) =>
      attach(rootFd + 1 + index, target, MOVE_MOUNT_T_SYMLINKS),
    ),
    step('sethostname', [wanted.hostname, Buffer.byteLength(wanted.hostname)]),
    ...becomeProgram(wanted),
  ];
}

/** A view of what is mounted there, which is in no tree yet; it will have the lowest descriptor free. */
function openReadOnly(path: string, fd: number): readonly Step[] {
  const attributes = Buffer.alloc(32); // mount_attr: u64 attr_set, …
  attributes.writeUInt32LE(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  const size = attributes.byteLength;
  return [
    step('open_tree', [AT_FDCWD, path, OPEN_TREE_CLONE]),
    step('mount_setattr', [fd, '', AT_EMPTY_PATH, attributes, size]),
  ];
}

/** A process that sees the sandbox's pid namespace as its own becomes a further process of it. */
export function joinSteps(wanted: JoinSteps): readonly Step[] {
  return [
    ...underLimits(wanted),
    ...wanted.namespaceFds.map((fd) => step('setns', [fd, 0])),
    ...becomeProgram(wanted),
  ];
}

/** Nothing inside may look at this process before it is the program: it may do more than they. */
function underLimits({ cgroupFds, freeFd, openFilesMax }: LimitSteps): readonly Step[] {
  const score = String(oomScoreAdjustment);
  return [
    step('prctl', [PR_SET_DUMPABLE, 0, 0, 0, 0]),
    step('close_range', [freeFd, fdMax, 0]),
    ...cgroupFds.map((fd) => step('write', [fd, '0', 1])),
    step('openat', [AT_FDCWD, '/proc/self/oom_score_adj', O_WRONLY, 0]),
    step('write', [freeFd, score, score.length]),
    step('close', [freeFd]),
    step('prlimit64', [0, RLIMIT_NOFILE, limits(openFilesMax), 0]),
    step('setsid', []),
    step('keyctl', [KEYCTL_JOIN_SESSION_KEYRING, 0], [ENOSYS]),
  ];
}

/** rlimit64: the limit as it is, and how far it can be raised. */
function limits(openFilesMax: number): Uint8Array {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(BigInt(Math.min(openFilesSoft, openFilesMax)), 0);
  bytes.writeBigUInt64LE(BigInt(openFilesMax), 8);
  return bytes;
}

/** pivot_root(2), "pivot_root(".", ".")": the old root lies on the new one and is taken away. */
function enterRoot(rootFd: number, rootTarget: string): readonly Step[] {
  return [
    attach(rootFd, rootTarget, 0),
    step('chdir', [rootTarget]),
    step('pivot_root', ['.', '.']),
    step('umount2', ['.', MNT_DETACH]),
    step('chdir', ['/']),
  ];
}

function attach(fd: number, target: string, flags: number): Step {
  return step('move_mount', [fd, '', AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH | flags]);
}

function mount(type: string, target: string, flags: number, data = ''): Step {
  return step('mount', [type, target, type, flags, data]);
}

function kernelFilesystems(cgroupOptions: readonly string[]): readonly Step[] {
  const cgroups = '/sys/fs/cgroup';
  return [
    mount('proc', '/proc', closed),
    mount('sysfs', '/sys', closed | MS_RDONLY),
    ...(cgroupOptions.length === 0
      ? [mount('cgroup2', cgroups, closed | MS_RDONLY)]
      : [
          mount('tmpfs', cgroups, closed, 'mode=755'),
          ...cgroupOptions.flatMap((options) => [
            step('mkdirat', [AT_FDCWD, `${cgroups}/${options}`, 0o755]),
            mount('cgroup', `${cgroups}/${options}`, closed | MS_RDONLY, options),
          ]),
          step('mount', [0, cgroups, 0, MS_BIND | MS_REMOUNT | MS_RDONLY | closed, 0]),
        ]),
  ];
}

function deviceFiles(): readonly Step[] {
  return [
    mount('tmpfs', '/dev', MS_NOSUID | MS_STRICTATIME, 'mode=755,size=65536k'),
    ...devices.map(([name, major, minor]) =>
      step('mknodat', [AT_FDCWD, `/dev/${name}`, S_IFCHR | 0o666, (major << 8) | minor]),
    ),
    ...deviceLinks.map(([to, name]) => step('symlinkat', [to, AT_FDCWD, `/dev/${name}`])),
    ...['pts', 'shm', 'mqueue'].map((name) => step('mkdirat', [AT_FDCWD, `/dev/${name}`, 0o755])),
    mount('devpts', '/dev/pts', MS_NOSUID | MS_NOEXEC, 'newinstance,ptmxmode=0666,mode=0620,gid=5'),
    mount('tmpfs', '/dev/shm', closed, 'mode=1777,size=65536k'),
    mount('mqueue', '/dev/mqueue', closed),
  ];
}

/**
 * What is not there needs no hiding. A mount that fails costs the kernel a grace period, several
 * milliseconds: so `kindOf` tells beforehand whether a file or a directory is to be hidden, and
 * only what is unknown is tried both ways. A kind that turns out to be another fails the start.
 */
function hiddenFiles(kindOf: HiddenKinds): readonly Step[] {
  return [
    ...readonlyPaths.flatMap((path) => [
      step('mount', [path, path, 0, MS_BIND | MS_REC, 0], [ENOENT]),
      step('mount', [0, path, 0, MS_BIND | MS_REMOUNT | MS_RDONLY | closed, 0], [ENOENT]),
    ]),
    ...maskedPaths.flatMap((path) => {
      const kind = kindOf.get(path);
      if (kind === 'file') return [hideFile(path, [ENOENT])];
      if (kind === 'directory') return [hideDirectory(path, [ENOENT])];
      return [hideFile(path, [ENOENT, ENOTDIR]), hideDirectory(path, [ENOENT, ENOTDIR])];
    }),
  ];
}

function hideFile(path: string, mayFailWith: readonly number[]): Step {
  return step('mount', ['/dev/null', path, 0, MS_BIND, 0], mayFailWith);
}

function hideDirectory(path: string, mayFailWith: readonly number[]): Step {
  return step('mount', ['tmpfs', path, 'tmpfs', closed | MS_RDONLY, ''], mayFailWith);
}

/** From all that root may do down to what the program may. */
function becomeProgram({ process, seccompFilter }: ProcessSteps): readonly Step[] {
  const { user, args, environment, workingDir } = process;
  const rest = process.programs.map((path) =>
    step('execve', [path, { strings: args }, { strings: environment }], [ENOENT, EACCES]),
  );
  const last = rest.pop();
  return [
    step('umask', [0o022]),
    step('chdir', [workingDir]),
    // Programs open /dev/stdout anew, which takes more than having it.
    ...[1, 2].map((fd) => step('fchown', [fd, user.uid, -1])),
    ...dropBounding(process),
    ...becomeUser(user, capabilitiesByNumber(process)),
    step('prctl', [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]),
    step('prctl', [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]),
    step('close_range', [statusFd, fdMax, CLOSE_RANGE_CLOEXEC]),
    step('seccomp', [SECCOMP_SET_MODE_FILTER, 0, { filter: seccompFilter }]),
    ...rest,
    ...(last === undefined ? [] : [{ ...last, mayFailWith: [] }]),
  ];
}

/** Without those that this list does not know. */
function capabilitiesByNumber({ capabilities }: LaunchProcess): readonly number[] {
  return capabilities.flatMap((name) => capabilityNumbers[name] ?? []);
}

function dropBounding(process: LaunchProcess): readonly Step[] {
  const kept = new Set(capabilitiesByNumber(process));
  return Array.from({ length: capabilityNumberMax + 1 }, (_, number) => number)
    .filter((number) => !kept.has(number))
    .map((number) => step('prctl', [PR_CAPBSET_DROP, number, 0, 0, 0], [EINVAL]));
}

/** Changing from user 0 to another takes all capabilities; user 0 keeps those of the list. */
function becomeUser(
  { uid, gid, additionalGids }: ImageUser,
  ofRoot: readonly number[],
): readonly Step[] {
  const groups = Buffer.from(Uint32Array.from(additionalGids).buffer);
  return [
    step('setgroups', [additionalGids.length, groups]),
    step('setresgid', [gid, gid, gid]),
    step('setresuid', [uid, uid, uid]),
    step('capset', [capabilityHeader(), capabilitySets(uid === 0 ? ofRoot : [])]),
    step('prctl', [PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0]),
  ];
}

/** __user_cap_header_struct: u32 version, int pid; 0 is the caller. */
function capabilityHeader(): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(LINUX_CAPABILITY_VERSION_3, 0);
  return bytes;
}

/** Two of __user_cap_data_struct, for 32 capabilities each: effective, permitted, inheritable. */
function capabilitySets(numbers: readonly number[]): Uint8Array {
  const bits = numbers.reduce((sum, number) => sum | (1n << BigInt(number)), 0n);
  const bytes = Buffer.alloc(24);
  for (const half of [0, 1]) {
    const word = Number((bits >> BigInt(32 * half)) & 0xffff_ffffn);
    bytes.writeUInt32LE(word, 12 * half);
    bytes.writeUInt32LE(word, 12 * half + 4);
  }
  return bytes;
}
