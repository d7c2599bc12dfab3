/**
 * The container configuration of a sandbox: what is mounted where, what is hidden, what is allowed
 * and how much. Pure. Format: OCI runtime specification 1.0, config.md and config-linux.md. The set
 * of mounts, devices, hidden paths and capabilities is Docker's default; the read-only root, the
 * writable /tmp and the limit on processes are Lambda's.
 */

import { cpuPeriodUs } from '../limits/cgroups.ts';
import type { LaunchProcess } from './launcher.ts';
import type { SandboxNetwork, SandboxSpec } from '../sandbox.ts';
import { seccompProfile } from '../limits/seccomp-profile.ts';

export interface OciConfigInput {
  readonly spec: SandboxSpec;
  /** What the runtime takes as root; `spec.rootPath`, or a view of it that has the mount points. */
  readonly rootPath: string;
  readonly process: LaunchProcess;
  /** Absent: the host's own network. */
  readonly networkNamespacePath?: string;
  readonly cgroupName: string;
  readonly limitSwap: boolean;
  /** Files and directories of the host to show read-only inside: target to source. */
  readonly binds: ReadonlyMap<string, string>;
  readonly arch: string;
  /** As many open files as a process inside may ask for. */
  readonly openFilesMax: number;
}

/** Processes and threads, as in Lambda. */
export const pidsMax = 1024;
/** Open files a process: as in Lambda, until it asks for more. */
export const openFilesSoft = 1024;
/** Under memory pressure of the whole machine sandboxes go before the worker. */
export const oomScoreAdjustment = 500;

/** Docker's default: enough for an image's root user to manage its own files, ids and processes. */
const capabilities: readonly string[] = [
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_MKNOD',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
];

/** In the host's own network nothing may be sent or listened to that is not the sandbox's. */
export function capabilitiesFor(network: SandboxNetwork): readonly string[] {
  return network === 'host' ? capabilities.filter((name) => name !== 'CAP_NET_RAW') : capabilities;
}

/** Files about the machine that a sandbox has no business with. */
export const maskedPaths: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

/** Files by which root could change the machine. */
export const readonlyPaths: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];

/** Where something is mounted, so that directories must be there. */
export const mountPoints: readonly string[] = ['/dev', '/proc', '/sys', '/tmp'];

interface Mount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

function mount(destination: string, type: string, options: readonly string[]): Mount {
  return { destination, type, source: type, options };
}

function mountsOf(spec: SandboxSpec, binds: ReadonlyMap<string, string>): readonly Mount[] {
  const closed = ['nosuid', 'noexec', 'nodev'];
  const bound = [...binds].map(([destination, source]): Mount => {
    const options = ['bind', 'ro', 'nosuid', 'nodev'];
    return { destination, type: 'bind', source, options };
  });
  return [
    mount('/proc', 'proc', closed),
    mount('/dev', 'tmpfs', ['nosuid', 'strictatime', 'mode=755', 'size=65536k']),
    mount('/dev/pts', 'devpts', [
      'nosuid',
      'noexec',
      'newinstance',
      'ptmxmode=0666',
      'mode=0620',
      'gid=5',
    ]),
    mount('/dev/shm', 'tmpfs', [...closed, 'mode=1777', 'size=65536k']),
    mount('/dev/mqueue', 'mqueue', closed),
    mount('/sys', 'sysfs', [...closed, 'ro']),
    mount('/sys/fs/cgroup', 'cgroup', [...closed, 'relatime', 'ro']),
    mount('/tmp', 'tmpfs', ['nosuid', 'nodev', 'mode=1777', `size=${spec.tmpSizeBytes}`]),
    ...bound,
  ];
}

/** The `process` of `config.json`, and what `exec` takes for a further one. */
export function ociProcess(
  { args, environment, workingDir, user, capabilities: allowed }: LaunchProcess,
  openFilesMax: number,
): object {
  const isRoot = user.uid === 0;
  return {
    terminal: false,
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    args,
    env: environment,
    cwd: workingDir,
    noNewPrivileges: true,
    oomScoreAdj: oomScoreAdjustment,
    rlimits: [
      { type: 'RLIMIT_NOFILE', soft: Math.min(openFilesSoft, openFilesMax), hard: openFilesMax },
    ],
    capabilities: {
      bounding: allowed,
      effective: isRoot ? allowed : [],
      permitted: isRoot ? allowed : [],
      inheritable: [],
      ambient: [],
    },
  };
}

/** The object that `config.json` of the bundle holds. */
export function ociConfig(input: OciConfigInput): object {
  const { spec } = input;
  return {
    ociVersion: '1.0.2',
    hostname: spec.id,
    root: { path: input.rootPath, readonly: true },
    mounts: mountsOf(spec, input.binds),
    process: ociProcess(input.process, input.openFilesMax),
    linux: {
      cgroupsPath: `/${input.cgroupName}`,
      namespaces: [
        { type: 'pid' },
        { type: 'mount' },
        { type: 'ipc' },
        { type: 'uts' },
        { type: 'cgroup' },
        ...(input.networkNamespacePath === undefined
          ? []
          : [{ type: 'network', path: input.networkNamespacePath }]),
      ],
      resources: resourcesOf(input),
      maskedPaths,
      readonlyPaths,
      seccomp: seccompProfile(input.arch),
    },
  };
}

function resourcesOf({ spec, limitSwap }: OciConfigInput): object {
  return {
    devices: [{ allow: false, access: 'rwm' }], // the runtime adds those of the /dev that it makes
    memory: { limit: spec.memoryBytes, ...(limitSwap ? { swap: spec.memoryBytes } : {}) },
    cpu: { quota: Math.round(spec.cpus * cpuPeriodUs), period: cpuPeriodUs },
    pids: { limit: pidsMax },
  };
}
