/**
 * The system calls that a sandbox may make: those that ordinary programs need. Everything else
 * fails with EPERM, as with Docker's default profile, whose reach this list has for a container
 * without extra capabilities, less tracing.
 *
 * Left out on purpose: what reaches past the sandbox (mounts, namespaces, kernel modules, kexec,
 * reboot, swap, clocks, quotas), what has been a way into the kernel more often than of use (bpf,
 * keyrings, userfaultfd, io_uring, perf events, ptrace), and what goes round the sandbox's own
 * files (open_by_handle_at). Names that a kernel does not know are skipped by the runtimes.
 *
 * Only the machine's own 64-bit calls: a 32-bit program is killed at its first. Lambda runs none
 * either, it is less to attack, and with the others runc would spend 13 rather than 3 ms of CPU
 * time of every start on compiling the filter. Format: OCI runtime specification, config-linux.md,
 * "Seccomp".
 */

export interface ArgumentRule {
  readonly index: number;
  readonly value: number;
  readonly valueTwo?: number;
  readonly op: 'SCMP_CMP_EQ' | 'SCMP_CMP_MASKED_EQ';
}

interface SyscallRule {
  readonly names: readonly string[];
  readonly action: 'SCMP_ACT_ALLOW' | 'SCMP_ACT_ERRNO';
  readonly errnoRet?: number;
  readonly args?: readonly ArgumentRule[];
}

export interface SeccompProfile {
  readonly defaultAction: 'SCMP_ACT_ERRNO';
  readonly defaultErrnoRet: number;
  readonly architectures: readonly string[];
  readonly syscalls: readonly SyscallRule[];
}

const EPERM = 1;
const ENOSYS = 38;
/**
 * The flags that make new namespaces: mount, cgroup, uts, ipc, user, pid, network (time is clone3's
 * alone).
 */
const CLONE_NAMESPACES = 0x7e02_0000;

/**
 * The address families that programs need: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK. Left out is, above all, AF_VSOCK: sockets
 * towards the hypervisor are not those of a network namespace.
 */
const socketFamilies = [1, 2, 10, 16];
/** Of an argument that the kernel takes as an int: it does not look at the rest. */
const INT_MASK = 0xffff_ffff;

/** By what programs need them for. */
const allowed: Readonly<Record<string, string>> = {
  filesOpen: `open openat openat2 creat close close_range dup dup2 dup3 fcntl flock ioctl
    memfd_create memfd_secret`,
  filesData: `read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek
    sendfile splice tee vmsplice copy_file_range fadvise64 readahead fallocate ftruncate truncate
    sync syncfs fsync fdatasync sync_file_range cachestat`,
  filesMetadata: `stat lstat fstat fstatat64 newfstatat statx statfs fstatfs statmount listmount
    access faccessat faccessat2 chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat
    umask utime utimes utimensat futimesat getxattr lgetxattr fgetxattr getxattrat setxattr
    lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr listxattrat removexattr
    lremovexattr fremovexattr removexattrat name_to_handle_at`,
  filesTree: `getcwd chdir fchdir mkdir mkdirat rmdir link linkat symlink symlinkat readlink
    readlinkat unlink unlinkat rename renameat renameat2 mknod mknodat getdents getdents64 chroot`,
  filesWatch: `inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark`,
  filesAsync: `io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents`,
  waiting: `poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
    epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4`,
  pipes: `pipe pipe2`,
  memory: `brk mmap munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock
    munlockall membarrier map_shadow_stack mseal remap_file_pages pkey_alloc pkey_free
    pkey_mprotect process_mrelease`,
  processes: `fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill
    pidfd_open pidfd_send_signal getpid getppid gettid getpgid getpgrp setpgid getsid setsid
    prctl arch_prctl set_tid_address set_thread_area get_thread_area set_robust_list
    get_robust_list rseq restart_syscall uretprobe`,
  limits: `getrlimit setrlimit prlimit64 getrusage getpriority setpriority ioprio_get ioprio_set`,
  scheduling: `sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr
    sched_getparam sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max
    sched_get_priority_min sched_rr_get_interval getcpu`,
  locks: `futex futex_waitv futex_wait futex_wake futex_requeue`,
  signals: `rt_sigaction rt_sigprocmask rt_sigpending rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigqueueinfo rt_tgsigqueueinfo sigaltstack pause alarm`,
  time: `time times gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep getitimer
    setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
    timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
    timerfd_settime timerfd_settime64 adjtimex clock_adjtime`,
  sockets: `socketpair bind connect listen accept accept4 getsockname getpeername getsockopt
    setsockopt shutdown sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg`,
  identity: `getuid geteuid getgid getegid getgroups getresuid getresgid setuid setgid setreuid
    setregid setresuid setresgid setgroups setfsuid setfsgid capget capset`,
  ownRestrictions: `seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
    lsm_get_self_attr lsm_list_modules lsm_set_self_attr`,
  systemVIpc: `msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt
    shmget`,
  posixQueues: `mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedreceive`,
  system: `uname sysinfo getrandom`,
  architecture: `modify_ldt`,
};

/**
 * The values of personality(2) that only choose what ordinary programs may: Linux, 32 bits, no
 * randomisation, query.
 */
const personalities = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/**
 * The OCI `linux.seccomp` object for a machine of the architecture `arch`, as in `process.arch`.
 */
export function seccompProfile(arch: string): SeccompProfile {
  const names = Object.values(allowed).flatMap((group) => group.split(/\s+/));
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: EPERM,
    architectures: [arch === 'arm64' ? 'SCMP_ARCH_AARCH64' : 'SCMP_ARCH_X86_64'],
    syscalls: [
      { names, action: 'SCMP_ACT_ALLOW' },
      {
        names: ['clone'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value: CLONE_NAMESPACES, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
      },
      // Its flags lie in memory, where a filter cannot look; the C libraries fall back to clone on ENOSYS.
      { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
      ...socketFamilies.map((family): SyscallRule => ({
        names: ['socket'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value: INT_MASK, valueTwo: family, op: 'SCMP_CMP_MASKED_EQ' }],
      })),
      ...personalities.map((value): SyscallRule => ({
        names: ['personality'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
      })),
    ],
  };
}
