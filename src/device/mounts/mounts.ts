/** What is mounted on this machine, and how to undo what of it is ours. */

import { readFileSync } from 'node:fs';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { CommandFailedError, compareStrings, errorCode, runCommand } from '../../base/index.ts';
import { MountBusyError } from '../errors.ts';
import { tryUnmount } from '../system-calls.ts';

export interface Mount {
  readonly mountPoint: string;
  readonly fileSystemType: string;
  /** Such as `/dev/loop0`. */
  readonly source: string;
}

/** In mountinfo a space, tab, newline or backslash of a path is written as `\040`. */
function unescapeOctal(field: string): string {
  const bytes = field.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** Source: kernel Documentation/filesystems/proc.rst, section 3.5. */
export function parseMountInfo(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const separator = fields.indexOf('-');
    const [mountPoint, fileSystemType, source] = [
      fields[4],
      fields[separator + 1],
      fields[separator + 2],
    ];
    if (separator < 0 || mountPoint === undefined) continue;
    if (fileSystemType === undefined || source === undefined) continue;
    mounts.push({
      mountPoint: unescapeOctal(mountPoint),
      fileSystemType,
      source: unescapeOctal(source),
    });
  }
  return mounts;
}

const mountInfoPath = '/proc/self/mountinfo';

/** Mounts of this process's mount namespace, in the order in which they were made. */
export async function listMounts(): Promise<Mount[]> {
  return parseMountInfo(await readFile(mountInfoPath, 'latin1'));
}

/** The same without giving way: for who decides by what else it knows at this moment. */
export function listMountsSync(): Mount[] {
  return parseMountInfo(readFileSync(mountInfoPath, 'latin1'));
}

/** Attached loop devices (`/dev/loopN`) and the paths of the files behind them. Asks no filesystem but sysfs. */
export async function listLoopDevices(): Promise<Map<string, string>> {
  const devices = new Map<string, string>();
  for (const name of await readdir('/sys/block')) {
    if (!name.startsWith('loop')) continue;
    const path = await readFile(join('/sys/block', name, 'loop/backing_file'), 'utf8').catch(
      (thrown: unknown) => {
        if (errorCode(thrown) === 'ENOENT') return undefined; // not attached
        throw thrown;
      },
    );
    if (path !== undefined) devices.set(`/dev/${name}`, path.trimEnd());
  }
  return devices;
}

/**
 * Unmounts `path`, a path without symbolic links, if anything is mounted there. Throws `ERR_DEVICE_MOUNT_BUSY` if a
 * process is in it, unless `lazily`: then it leaves the tree at once and is gone when the last process is done with it.
 */
export async function unmount(path: string, { lazily }: { lazily: boolean }): Promise<void> {
  // By the system call: it takes a tenth of the time of a program, which says why where it fails.
  if (await tryUnmount(path, { lazily: false })) return;
  try {
    await runCommand('umount', ['-c', '-n', path]);
  } catch (thrown) {
    const isBusy = thrown instanceof CommandFailedError && thrown.stderr.includes('busy');
    if (!(await isMounted(path))) return; // a holder cleared it away meanwhile, after one that had died
    if (lazily) await runCommand('umount', ['-c', '-n', '-l', path]);
    else throw isBusy ? new MountBusyError(path, thrown) : thrown;
  }
}

async function isMounted(path: string): Promise<boolean> {
  return (await listMounts()).some(({ mountPoint }) => mountPoint === path);
}

function isBelow(path: string, dir: string): boolean {
  return path.startsWith(`${dir}/`);
}

/** Unmounts everything below `dir`, deepest first, whatever its state. */
export async function unmountBelow(dir: string): Promise<void> {
  const mountPoints = (await listMounts()).map(({ mountPoint }) => mountPoint);
  const ours = mountPoints.filter((mountPoint) => isBelow(mountPoint, dir));
  for (const mountPoint of ours.sort(compareStrings).toReversed()) {
    await unmount(mountPoint, { lazily: true });
  }
}

/**
 * Ends every request on the FUSE mount at `imagesDir` with an error, now and from now on. It stays in the tree, dead, while
 * something uses it.
 */
export async function abortImagesDir(imagesDir: string): Promise<void> {
  // MNT_FORCE aborts the connection before it finds that the mount is busy.
  await runCommand('umount', ['-c', '-n', '-i', '-f', imagesDir]).catch(() => {});
}

/**
 * Undoes every mount of a file in `imagesDir`, every loop device on one, and the mount at `imagesDir` itself, dead or alive.
 * A filesystem still in use leaves the tree and gives its users errors: nobody is left to serve it.
 */
export async function releaseImagesDir(imagesDir: string): Promise<void> {
  const loops = [...(await listLoopDevices())].filter(([, file]) => isBelow(file, imagesDir));
  const devices = new Set(loops.map(([device]) => device));
  const mounts = (await listMounts()).toReversed();
  const failures: unknown[] = [];
  const attempt = async (work: Promise<unknown>): Promise<void> => {
    await work.catch((thrown: unknown) => failures.push(thrown));
  };
  for (const { source, mountPoint } of mounts) {
    if (devices.has(source)) await attempt(unmount(mountPoint, { lazily: true }));
  }
  for (const [device, file] of await listLoopDevices()) {
    // Those that detach by themselves are gone; a device in use is detached when its user is done.
    if (isBelow(file, imagesDir)) await attempt(runCommand('losetup', ['-d', device]));
  }
  for (const { mountPoint, fileSystemType } of mounts) {
    if (mountPoint !== imagesDir || !fileSystemType.startsWith('fuse')) continue;
    const force = async (): Promise<unknown> =>
      runCommand('umount', ['-c', '-n', '-i', '-f', '-l', imagesDir]);
    await attempt(runCommand('umount', ['-c', '-n', '-i', imagesDir]).catch(force));
  }
  if (failures.length > 0) throw failures[0];
}
