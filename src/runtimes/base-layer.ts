/**
 * What every runtime has: the directories of Lambda's runtimes, accounts, the C library for programs that need one, a shell
 * where the machine has a static busybox, and authorities for TLS where it has some.
 */

import { runCommand } from '../base/index.ts';
import { copyOf, exists, librariesNamed } from './machine-programs.ts';
import type { RuntimeEntry } from './runtime-tree.ts';
import { runtimeUser } from './write-image.ts';

const directories: readonly RuntimeEntry[] = [
  ...['dev', 'opt', 'proc', 'root', 'sys', 'var/runtime', 'var/task'].map((path): RuntimeEntry => ({
    path,
    kind: 'directory',
  })),
  { path: 'tmp', kind: 'directory', mode: 0o1777 },
];

const { name, uid, gid } = runtimeUser;
const texts: Readonly<Record<string, string>> = {
  'etc/group': `root:x:0:\n${name}:x:${gid}:\n`,
  'etc/hosts': '127.0.0.1 localhost\n::1 localhost\n',
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
  'etc/os-release': 'NAME="Thaw runtime"\nID=thaw\n',
  'etc/passwd': `root:x:0:0:root:/root:/sbin/nologin\n${name}:x:${uid}:${gid}::/tmp:/sbin/nologin\n`,
  'etc/resolv.conf': '',
};

/** The C library with what it loads by name, and what most compilers link besides. */
const libraries = [
  'ld-linux-x86-64.so.2',
  'ld-linux-aarch64.so.1',
  'libc.so.6',
  'libm.so.6',
  'libdl.so.2',
  'libpthread.so.0',
  'librt.so.1',
  'libresolv.so.2',
  'libnss_dns.so.2',
  'libnss_files.so.2',
  'libgcc_s.so.1',
  'libstdc++.so.6',
];
/** The dynamic linker where programs look for it: their ABI says so. */
const linkers = ['/lib64/ld-linux-x86-64.so.2', '/lib/ld-linux-aarch64.so.1'];
const busybox = '/bin/busybox';
const authorities = '/etc/ssl/certs/ca-certificates.crt';

/** The same for all runtimes of a machine, and therefore stored once. */
export async function baseLayer(): Promise<RuntimeEntry[]> {
  const entries = [...directories, ...(await librariesNamed(libraries))];
  for (const [path, text] of Object.entries(texts)) entries.push({ path, kind: 'text', text });
  for (const linker of linkers) if (await exists(linker)) entries.push(copyOf(linker));
  if (await exists(authorities)) entries.push(copyOf(authorities));
  return [...entries, ...(await shell())];
}

/** busybox and its applets; none where there is no busybox, or it is not static. */
async function shell(): Promise<RuntimeEntry[]> {
  const listed = await runCommand(busybox, ['--list']).catch(() => undefined);
  const isStatic = await runCommand('ldd', [busybox]).then(
    () => false,
    () => true,
  );
  if (listed === undefined || !isStatic) return [];
  const applets = listed.stdout.split('\n').filter((applet) => /^[a-z0-9_[-]+$/.test(applet));
  return [
    copyOf(busybox),
    ...applets
      .filter((applet) => applet !== 'busybox')
      .map((applet): RuntimeEntry => ({ path: `bin/${applet}`, kind: 'link', target: 'busybox' })),
  ];
}
