/**
 * For tests: a small image's root, read-only as a mounted one is, made of this machine's own
 * programs.
 */

import { existsSync } from 'node:fs';
import {
  chmod,
  copyFile,
  cp,
  link,
  mkdir,
  mkdtemp,
  realpath,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { runCommand } from '../../base/index.ts';
import { statInRoot } from '../root/root-files.ts';

export interface TestRoot extends AsyncDisposable {
  readonly path: string;
}

export interface TestRootOptions {
  /**
   * Programs of this machine with the libraries that they need, by absolute path; each at the same
   * path inside.
   */
  readonly programs?: readonly string[];
  /** True to put the Node that runs this at `nodeInRoot`. */
  readonly node?: boolean;
  /** Text files by path. */
  readonly files?: Readonly<Record<string, string>>;
  /** Files and directories of this machine to copy, by their path inside. */
  readonly copies?: Readonly<Record<string, string>>;
  /** False to leave out /tmp, /proc, /dev and /sys. */
  readonly mountPoints?: boolean;
}

/** Not where it is outside: a checkout in /tmp would be hidden by the sandbox's own /tmp. */
export const nodeInRoot = '/opt/node/bin/node';

const busybox = '/bin/busybox';
const accounts = {
  '/etc/passwd': 'root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n',
  '/etc/group': 'root:x:0:\napp:x:1001:\nextra:x:2002:other,app\n',
  '/etc/hosts': '',
};

/** What takes longer than that on the busiest machine has come to a stop. */
export const hungMs = 300_000;
/** The same of compiling what takes two minutes on a machine of two cores that does nothing else. */
export const hungBuildMs = 1_500_000;

/** Why sandbox tests cannot run here; false when they can. */
export const cannotRunSandboxes: string | false =
  process.geteuid?.() !== 0 ? 'needs root' : existsSync(busybox) ? false : 'needs busybox-static';

/**
 * Builds the root in a fresh directory, with busybox as /bin/sh and all else, and binds it
 * read-only.
 */
export async function buildTestRoot(options: TestRootOptions = {}): Promise<TestRoot> {
  const made = new AsyncDisposableStack();
  const base = await mkdtemp(join(tmpdir(), 'thaw-root-'));
  made.defer(() => rm(base, { recursive: true, force: true }));
  const [tree, path] = [join(base, 'tree'), join(base, 'mounted')];
  await mkdir(path);
  const inside = options.mountPoints === false ? [] : ['tmp', 'proc', 'dev', 'sys'];
  for (const name of ['bin', 'etc', ...inside]) await mkdir(join(tree, name), { recursive: true });
  if (options.mountPoints !== false) await chmod(join(tree, 'tmp'), 0o1777);
  await place(busybox, join(tree, 'bin/busybox'));
  for (const name of ['sh', ...busyboxApplets]) await symlink('busybox', join(tree, 'bin', name));
  for (const program of options.programs ?? []) await placeProgram(program, tree);
  if (options.node === true) await placeProgram(process.execPath, tree, nodeInRoot);
  for (const [name, text] of Object.entries({ ...accounts, ...options.files })) {
    await mkdir(dirname(join(tree, name)), { recursive: true });
    await writeFile(join(tree, name), text);
    await chmod(join(tree, name), 0o755);
  }
  for (const [name, source] of Object.entries(options.copies ?? {})) {
    await cp(source, join(tree, name), { recursive: true });
  }
  await runCommand('mount', ['--bind', tree, path]);
  made.defer(async () => void (await runCommand('umount', [path])));
  await runCommand('mount', ['-o', 'remount,bind,ro', path]);
  return { path, [Symbol.asyncDispose]: () => made.disposeAsync() };
}

const busyboxApplets =
  'cat cut dd df echo env false free grep head hostname id ip kill ls mkdir mknod mount nc nproc ps pwd sed setsid sleep stat timeout touch tr true ulimit umount uname unshare wc wget yes chroot'.split(
    ' ',
  );

async function placeProgram(program: string, tree: string, inside = program): Promise<void> {
  const { stdout } = await runCommand('ldd', [program]).catch(() => ({ stdout: '' }));
  const libraries = [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path ?? '');
  const places = [[program, inside], ...libraries.map((library) => [library, library])] as const;
  for (const [file, at] of places) {
    if (statInRoot(tree, at) !== undefined) continue;
    await mkdir(dirname(join(tree, at)), { recursive: true });
    await place(file, join(tree, at));
  }
}

/** A hard link where that is possible: the Node binary alone is 120 MB. */
async function place(program: string, target: string): Promise<void> {
  const file = await realpath(program);
  await link(file, target).catch(() => copyFile(file, target));
}
