/** `thaw holder`: keeps the FUSE mount alive and an agent behind it. */

import { runHolder } from '../device/index.ts';
import { pathsOf } from './config.ts';
import type { CliContext } from './context.ts';
import { thawCommand } from './thaw-command.ts';

export interface HolderFlags {
  readonly exitWhenIdle?: boolean;
  readonly stopWithParent?: boolean;
}

export async function holdMount(context: CliContext, options: HolderFlags): Promise<void> {
  const { config, log } = context;
  const idle = options.exitWhenIdle === true ? ['--exit-when-idle'] : [];
  await runHolder({
    runDir: pathsOf(config).device,
    agentCommand: thawCommand(config, ['agent', ...idle]),
    stopAtEndOfInput: options.stopWithParent === true,
    log,
  });
}
