/** The files about the network that take the place of the image's. */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { statInRoot } from '../root/root-files.ts';
import type { SandboxSpec } from '../sandbox.ts';

/**
 * Writes them below `directory`, those that the image has to be replaced: where each is to be seen,
 * and where it is. `resolvConf` is the text of /etc/resolv.conf.
 */
export async function writeSandboxFiles(
  { id, rootPath }: SandboxSpec,
  resolvConf: string,
  directory: string,
): Promise<ReadonlyMap<string, string>> {
  const contents: Record<string, string> = {
    '/etc/hosts': `127.0.0.1 localhost ${id}\n::1 localhost\n`,
    '/etc/hostname': `${id}\n`,
    '/etc/resolv.conf': resolvConf,
  };
  const filesDirectory = join(directory, 'files');
  await mkdir(filesDirectory, { mode: 0o755 });
  const files = new Map<string, string>();
  for (const [target, content] of Object.entries(contents)) {
    if (statInRoot(rootPath, target)?.isFile() !== true) continue;
    const source = join(filesDirectory, target.slice('/etc/'.length));
    await writeFile(source, content, { mode: 0o644 });
    files.set(target, source);
  }
  return files;
}
