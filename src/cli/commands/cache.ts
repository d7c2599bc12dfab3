/** `thaw cache …` */

import type { Command } from 'commander';

import type { DroppableCache } from '../../cache/index.ts';
import { cacheReport } from '../cache-report.ts';
import { diskCacheBytes } from '../config.ts';
import type { CliContext } from '../context.ts';
import { formatBytes } from '../format.ts';

interface JsonOption {
  readonly json?: boolean;
}

interface DropOptions extends JsonOption {
  readonly memory?: boolean;
  readonly disk?: boolean;
}

export function addCacheCommands(program: Command, context: CliContext): void {
  const cache = program.command('cache').description("look after this worker's caches");
  const add = (usage: string, description: string): Command =>
    cache.command(usage).description(description).option('--json', 'print JSON');

  add('status', 'show what each tier holds and how it does').action((options: JsonOption) =>
    status(context, options),
  );
  add('drop', 'forget all chunks of this worker, so that the next start is cold')
    .option('--memory', 'only those in memory')
    .option('--disk', 'only those on disk')
    .action((options: DropOptions) => drop(context, options));
  add('reload', "use the zone's servers that the configuration file has now").action(
    (options: JsonOption) => reload(context, options),
  );
}

async function status(context: CliContext, options: JsonOption): Promise<void> {
  const worker = await context.worker();
  const found = await worker.cacheStatus();
  const result = found === undefined ? { isRunning: false } : { isRunning: true, ...found };
  context.print(result, options.json, () =>
    found === undefined ? withoutAgent(context) : cacheReport(found),
  );
}

/** What there would be. */
function withoutAgent({ config }: CliContext): string {
  const { cacheMemoryBytes, zoneServers } = config;
  const diskBytes = diskCacheBytes(config);
  return [
    'no image is open, so no agent runs and nothing is in memory\n',
    `memory: up to ${formatBytes(cacheMemoryBytes)}\n`,
    `disk: ${diskBytes === 0 ? 'off: cache.disk_bytes is 0' : `up to ${formatBytes(diskBytes)}`}\n`,
    `zone: ${zoneServers.length === 0 ? 'off: zone.servers is empty' : `${zoneServers.length} servers`}\n`,
  ].join('');
}

async function drop(context: CliContext, options: DropOptions): Promise<void> {
  const worker = await context.worker();
  const { memory, disk } = options;
  const named: DroppableCache[] = [
    ...(memory === true ? ['memory' as const] : []),
    ...(disk === true ? ['disk' as const] : []),
  ];
  const caches: readonly DroppableCache[] = named.length === 0 ? ['memory', 'disk'] : named;
  const dropped = await worker.dropCaches({ caches });
  if (disk === true && !dropped.includes('disk')) {
    context.log.warn('nothing dropped on disk: it is off, "thaw cache status" says why');
  }
  context.print({ dropped }, options.json, () => dropped.map((cache) => `${cache}\n`).join(''));
}

async function reload(context: CliContext, options: JsonOption): Promise<void> {
  const worker = await context.worker();
  const { zoneServers: servers, zoneFillBytesPerSecond: fillBytesPerSecond } = context.config;
  const { isAgentTold } = await worker.reloadZone({ servers, fillBytesPerSecond });
  context.print({ servers, isAgentTold }, options.json, () =>
    servers.length === 0 ? 'off\n' : servers.map((server) => `${server}\n`).join(''),
  );
}
