/**
 * The long-running processes: `thaw serve`, and the two that it starts, `thaw holder` and `thaw agent`. Each loads only
 * the rooms that it works with.
 */

import { Option, type Command } from 'commander';

import type { CliContext } from '../context.ts';
import type { AgentFlags } from '../run-agent.ts';
import type { HolderFlags } from '../run-holder.ts';
import type { ApiFlags } from '../serve-api.ts';

const idleOption = new Option('--exit-when-idle', 'end when no image is open');

export function addProcessCommands(program: Command, context: CliContext): void {
  program
    .command('serve')
    .description(
      "run the worker: warm instances, Lambda's API, and the socket of the other commands",
    )
    .option('--listen <address>', 'HOST:PORT where the API is served, or off')
    .option('--insecure-no-auth', 'take unsigned requests as those of the default tenant')
    .action(async (flags: ApiFlags) => {
      const { runServer } = await import('../run-server.ts');
      await runServer(context, flags);
    });
  program
    .command('holder', { hidden: true })
    .description('keep the FUSE mount alive and an agent behind it')
    .addOption(idleOption)
    .option('--stop-with-parent', 'end when standard input does')
    .action(async (options: HolderFlags) => {
      const { holdMount } = await import('../run-holder.ts');
      await holdMount(context, options);
    });
  program
    .command('agent', { hidden: true })
    .description('answer the reads of the FUSE mount; started by the holder')
    .addOption(idleOption)
    .action(async (options: AgentFlags) => {
      const { serveReads } = await import('../run-agent.ts');
      await serveReads(context, options);
    });
}
