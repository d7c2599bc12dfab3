/**
 * Starts a sandbox with the programs of util-linux alone, where there is neither runc nor a usable
 * crun.
 *
 * The same namespaces, limits, mounts and read-only root; less isolation in what
 * `utilLinuxIsolation` says. The root is entered as switch_root(8) does: moved over the namespace's
 * own root, then chroot. (pivot_root would leave no program of the host to carry on with.) Leaving
 * it again takes CAP_SYS_ADMIN, which is not in the bounding set.
 */

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';

import { present } from '../../base/index.ts';
import { joinSandbox } from './builtin-launcher.ts';
import { detectCgroups, limitingOptions } from '../limits/cgroups.ts';
import { SandboxStartError } from '../errors.ts';
import type { LaunchedSandbox, Launcher, LaunchPlace, LaunchRequest } from './launcher.ts';
import { maskedPaths, pidsMax, readonlyPaths } from './oci-config.ts';
import { processExit } from './process-exit.ts';
import type { ProcessExit } from '../sandbox.ts';
import { closeInheritedOnExec } from '../syscalls.ts';

export const utilLinuxIsolation =
  'reduced: no seccomp filter, no device control group, no supplementary groups';

/** The programs of the host that the scripts call. */
export const utilLinuxPrograms: readonly string[] =
  'env hostname ln mkdir mknod mount nsenter setpriv sh umount unshare'.split(' ');

/** By its path, as it is looked up on the program's own PATH. */
const nsenter = '/usr/bin/nsenter';

/** There is no device control group here that would keep a new device node from being opened. */
const dropped = 'CAP_MKNOD';

/** The first process joins the control groups, so that everything after it is limited. */
const joinAndUnshare = `set -eu
net=$1; shift
while [ "$1" != -- ]; do echo $$ > "$1"; shift; done
shift
exec nsenter --net="$net" -- unshare --mount --propagation private --ipc --uts --cgroup \
  --pid --fork --kill-child -- sh -c "$INNER" sandbox "$@"`;

/**
 * Process 1 of the sandbox builds its root in "$TARGET" and becomes the program. Arguments:
 * what to bind as SOURCE TARGET, `--`, environment as NAME=value, then the command that enters the
 * root and runs the program. Mounts of
 * other images are let go, so that they can be unmounted while this runs.
 */
const buildRootAndRun = `set -eu
mount --bind "$ROOT" "$TARGET"
mount -o remount,bind,ro,nodev "$TARGET"
while read -r _ _ _ _ point rest; do
  case "$point" in "$TARGET"*) continue;; esac
  case "$rest" in *' - fuse'*|*' /dev/loop'*) umount -l "$point" 2> /dev/null || true;; esac
done < /proc/self/mountinfo
cd "$TARGET"
closed=nosuid,nodev,noexec
mount -t proc -o $closed proc proc
for path in $READONLY; do
  [ -e "./$path" ] || continue
  mount --bind "./$path" "./$path"; mount -o remount,bind,ro,$closed "./$path"
done
mount -t sysfs -o ro,$closed sysfs sys
if [ -z "$CGROUPS" ]; then mount -t cgroup2 -o ro,$closed cgroup2 sys/fs/cgroup
else mount -t tmpfs -o $closed,mode=755 tmpfs sys/fs/cgroup; fi
for options in $CGROUPS; do
  mkdir "sys/fs/cgroup/$options"
  mount -t cgroup -o "ro,$closed,$options" cgroup "sys/fs/cgroup/$options"
done
for path in $MASKED; do
  if [ -d "./$path" ]; then mount -t tmpfs -o ro,$closed tmpfs "./$path"
  elif [ -e "./$path" ]; then mount --bind /dev/null "./$path"; fi
done
mount -t tmpfs -o nosuid,strictatime,mode=755,size=65536k tmpfs dev
mknod -m 666 dev/null c 1 3; mknod -m 666 dev/zero c 1 5; mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8; mknod -m 666 dev/urandom c 1 9; mknod -m 666 dev/tty c 5 0
ln -s /proc/self/fd dev/fd; ln -s /proc/self/fd/0 dev/stdin; ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd/1 dev/stdout; ln -s /proc/self/fd/2 dev/stderr
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5 devpts dev/pts
mount -t tmpfs -o $closed,mode=1777,size=65536k tmpfs dev/shm
mount -t mqueue -o $closed mqueue dev/mqueue
mount -t tmpfs -o nosuid,nodev,mode=1777,size="$TMP_SIZE" tmpfs tmp
while [ "$1" != -- ]; do
  mount --bind "$1" "./$2"
  mount -o remount,bind,ro,nosuid,nodev "./$2"
  shift 2
done
shift
hostname "$NAME"
cd "$TARGET"
mount --move "$TARGET" /
echo started >&3
exec 3>&-
exec setpriv --no-new-privs --inh-caps=-all --bounding-set="$BOUNDING" env -i -- "$@"`;

/** The launcher; `Cgroup.create` must work here. */
export function utilLinuxLauncher(): Launcher {
  return {
    runtime: 'util-linux',
    prepare: async (place) => ({
      isUsable: true,
      blocksMetadata: false,
      start: (request) => start(place, request),
    }),
  };
}

async function start(
  { cgroup, networkNamespacePath }: LaunchPlace,
  request: LaunchRequest,
): Promise<LaunchedSandbox> {
  const { spec, directory } = request;
  const { user, environment, workingDir, args, outputFd } = request.process;
  const target = join(directory, 'target');
  await mkdir(target);
  const joinFiles = cgroup.make();
  cgroup.setLimits({ ...spec, pidsMax });
  closeInheritedOnExec(); // runc does so by itself
  const child = spawn(
    'sh',
    [
      '-c',
      joinAndUnshare,
      'sandbox',
      networkNamespacePath ?? '/proc/self/ns/net',
      ...joinFiles,
      '--',
      ...[...request.binds].flatMap(([target, source]) => [source, target]),
      '--',
      ...environment,
      nsenter,
      '--root=.',
      `--wdns=${workingDir}`,
      `--setuid=${user.uid}`,
      `--setgid=${user.gid}`,
      '--',
      ...args,
    ],
    {
      stdio: ['ignore', outputFd, outputFd, 'pipe'],
      env: scriptEnvironment(request, target),
    },
  );
  const ended = new Promise<ProcessExit>((resolve) => {
    child.once('error', () => resolve({}));
    child.once('exit', (code, signal) => resolve(processExit(code, signal)));
  });
  if (!(await saysStarted(child.stdio[3] as Readable))) {
    const { status } = await ended;
    throw new SandboxStartError(
      spec.id,
      'util-linux',
      `its script ended with status ${status ?? 'unknown'}; its log says where`,
    );
  }
  const pid = firstProcess(cgroup.memberPids()) ?? present(child.pid, 'pid');
  return {
    pid,
    ended,
    // To enter a mount namespace hides the programs of the host, setpriv among them.
    spawn: (process) => joinSandbox({ id: spec.id, pid, cgroup }, process),
  };
}

/** Of a group's members the one that is process 1 of its own pid namespace: the program. */
function firstProcess(pids: ReadonlySet<number>): number | undefined {
  return [...pids].find((pid) => {
    try {
      return /^NSpid:\t(?:\d+\t)+1$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      return false; // ended meanwhile
    }
  });
}

/** For the scripts alone; the program gets exactly `request.environment`. */
function scriptEnvironment(request: LaunchRequest, target: string): NodeJS.ProcessEnv {
  const { spec, rootPath } = request;
  const bounding = request.process.capabilities
    .filter((name) => name !== dropped)
    .map((name) => `+${name.slice('CAP_'.length).toLowerCase()}`);
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    INNER: buildRootAndRun,
    ROOT: rootPath,
    TARGET: target,
    NAME: spec.id,
    TMP_SIZE: String(spec.tmpSizeBytes),
    CGROUPS: limitingOptions(detectCgroups()).join(' '), // programs size themselves by their limits
    READONLY: readonlyPaths.join(' '),
    MASKED: maskedPaths.join(' '),
    BOUNDING: ['-all', ...bounding].join(','),
  };
}

/**
 * True when the script has come to its last step; false when it ended before. The pipe stays open
 * in `unshare`, which waits for the sandbox, so its end is not waited for.
 */
async function saysStarted(messages: Readable): Promise<boolean> {
  for await (const part of messages) return String(part) === 'started\n';
  return false;
}
