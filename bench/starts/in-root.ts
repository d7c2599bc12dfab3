/** A program run with a directory as its root, in which `/proc`, `/dev` and `/tmp` are mounted as long as it is wanted. */

import { join } from 'node:path';

import { runCommand, type CommandOptions, type CommandResult } from '../../src/base/index.ts';

export interface Root extends AsyncDisposable {
  run(
    command: readonly string[],
    options?: Pick<CommandOptions, 'timeoutMs'>,
  ): Promise<CommandResult>;
}

const env = {
  PATH: '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/tmp',
  LC_ALL: 'C.UTF-8',
  NODE_ENV: 'production',
  NEXT_TELEMETRY_DISABLED: '1',
};

/** `root` has the three directories. */
export async function inRoot(root: string): Promise<Root> {
  await using mounted = new AsyncDisposableStack();
  for (const [type, name] of [
    ['proc', 'proc'],
    ['tmpfs', 'tmp'],
    ['devtmpfs', 'dev'],
  ] as const) {
    const target = join(root, name);
    await runCommand('mount', ['-t', type, type, target]);
    mounted.defer(async () => void (await runCommand('umount', [target])));
  }
  const mounts = mounted.move();
  return {
    run: (command, options) => runCommand('chroot', [root, ...command], { ...options, env }),
    [Symbol.asyncDispose]: () => mounts.disposeAsync(),
  };
}
