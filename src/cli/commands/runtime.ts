/** `thaw runtime …` */

import type { Command } from 'commander';

import type { CliContext } from '../context.ts';
import { formatBytes, formatTable, formatTime } from '../format.ts';

interface JsonOption {
  readonly json?: boolean;
}

export function addRuntimeCommands(program: Command, context: CliContext): void {
  const runtime = program.command('runtime').description('what zip functions run in');
  const add = (usage: string, description: string): Command =>
    runtime.command(usage).description(description).option('--json', 'print JSON');

  add('ls', 'list the runtimes that functions may name').action((options: JsonOption) =>
    list(context, options),
  );
  add(
    'build <name>',
    "make a runtime's image from this machine's programs as they are now; prints its manifest id",
  ).action((name: string, options: JsonOption) => build(context, name, options));
}

async function list(context: CliContext, options: JsonOption): Promise<void> {
  const worker = await context.worker();
  const runtimes = await worker.listRuntimes();
  context.print(runtimes, options.json, () =>
    formatTable(
      ['NAME', 'IMAGE', 'CONTENT', 'PUBLISHED'],
      runtimes.map(({ name, image }) =>
        image === undefined
          ? [name, 'made on first use', '', '']
          : [
              name,
              image.manifestId.slice(0, 12),
              formatBytes(image.contentBytes),
              formatTime(image.createdAtMs),
            ],
      ),
    ),
  );
}

async function build(context: CliContext, runtime: string, options: JsonOption): Promise<void> {
  const worker = await context.worker();
  const { manifestId, imageDigest } = await worker.buildRuntime({ runtime });
  context.print({ name: runtime, manifestId, imageDigest }, options.json, () => `${manifestId}\n`);
}
