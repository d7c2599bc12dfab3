/**
 * The start that all others are held against: `runc` on an overlayfs whose lower layers lie unpacked on this machine and in its page
 * cache, in the host's network.
 */

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

import { runCommand } from '../../src/base/index.ts';
import type { App } from './apps.ts';

interface RuncSpec {
  readonly process: object;
  readonly linux: { readonly namespaces: readonly { readonly type: string }[] };
}

export interface RuncStart extends AsyncDisposable {
  /** `performance.now()` once the root was mounted. */
  readonly mountedAtMs: number;
}

/** `lower`: as overlayfs takes it. The container runs when this resolves, or is about to. */
export async function startByRunc(
  directory: string,
  { id, config }: App,
  lower: string,
  env: Readonly<Record<string, string>>,
): Promise<RuncStart> {
  const bundle = join(directory, `runc-${id}`);
  const root = join(bundle, 'rootfs');
  for (const name of ['rootfs', 'upper', 'work']) {
    await mkdir(join(bundle, name), { recursive: true });
  }
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const options = `lowerdir=${lower},upperdir=${join(bundle, 'upper')},workdir=${join(bundle, 'work')}`;
  await runCommand('mount', ['-t', 'overlay', 'overlay', '-o', options, root]);
  const mountedAtMs = performance.now();
  const spec = await defaultSpec(directory);
  const process = {
    ...spec.process,
    terminal: false,
    args: [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])],
    env: [...(config.Env ?? []), ...variables],
    cwd: config.WorkingDir ?? '/',
  };
  const namespaces = spec.linux.namespaces.filter(({ type }) => type !== 'network');
  const own = { ...spec, process, linux: { ...spec.linux, namespaces }, root: { path: 'rootfs' } };
  await writeFile(join(bundle, 'config.json'), JSON.stringify(own));
  const name = `thaw-bench-${id}`;
  const child = spawn('runc', ['run', '--bundle', bundle, name], { stdio: 'ignore' });
  const exited = once(child, 'exit');
  return {
    mountedAtMs,
    [Symbol.asyncDispose]: async () => {
      await runCommand('runc', ['delete', '--force', name]).catch(() => {});
      await exited;
      await runCommand('umount', [root]);
      await rm(bundle, { recursive: true });
    },
  };
}

let spec: Promise<RuncSpec> | undefined;

/** What `runc spec` gives. */
async function defaultSpec(directory: string): Promise<RuncSpec> {
  spec ??= (async () => {
    const bundle = join(directory, 'spec');
    await mkdir(bundle, { recursive: true });
    await runCommand('runc', ['spec', '--bundle', bundle]);
    return JSON.parse(await readFile(join(bundle, 'config.json'), 'utf8')) as RuncSpec;
  })();
  return await spec;
}
