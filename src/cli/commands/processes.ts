/** The long-running processes: `thaw serve`, and the two that it starts, `thaw holder` and `thaw agent`. */

import { mkdir } from 'node:fs/promises';
import { once } from 'node:events';

import { Option, type Command } from 'commander';

import { serveWorker } from '../../api/index.ts';
import { createChunkLoader } from '../../cache/index.ts';
import { createOpenPool, openManifest } from '../../chunk/index.ts';
import { runAgent, runHolder } from '../../device/index.ts';
import { openLocalKeyring } from '../../keys/index.ts';
import { ManifestMissingError } from '../../publish/index.ts';
import { manifestObjectName, openDirectoryStore } from '../../store/index.ts';
import { createWorker } from '../compose.ts';
import { checkRunDir, pathsOf } from '../config.ts';
import type { CliContext } from '../context.ts';
import { thawCommand } from '../thaw-command.ts';

interface IdleOption {
  readonly exitWhenIdle?: boolean;
}

interface HolderFlags extends IdleOption {
  readonly stopWithParent?: boolean;
}

const idleOption = new Option('--exit-when-idle', 'end when no image is open');

export function addProcessCommands(program: Command, context: CliContext): void {
  program
    .command('serve')
    .description('run the worker: warm instances, and the socket that the other commands talk to')
    .action(() => serve(context));
  program
    .command('holder', { hidden: true })
    .description('keep the FUSE mount alive and an agent behind it')
    .addOption(idleOption)
    .option('--stop-with-parent', 'end when standard input does')
    .action((options: HolderFlags) => holder(context, options));
  program
    .command('agent', { hidden: true })
    .description('answer the reads of the FUSE mount; started by the holder')
    .addOption(idleOption)
    .action((options: IdleOption) => agent(context, options));
}

async function serve(context: CliContext): Promise<void> {
  const { config, log, signal, secondSignal } = context;
  checkRunDir(config);
  const { serveSocket } = pathsOf(config);
  await mkdir(config.runDir, { recursive: true, mode: 0o700 });
  await using worker = await createWorker(config, log, { agentLife: 'lasting' });
  await using _server = await serveWorker(worker, serveSocket, secondSignal);
  log.info('serving', { socket: serveSocket, root: config.root });
  if (!signal.aborted) await once(signal, 'abort');
  log.info('stopping when the calls under way have ended; a second signal ends them');
}

async function holder(context: CliContext, options: HolderFlags): Promise<void> {
  const { config, log } = context;
  const idle = options.exitWhenIdle === true ? ['--exit-when-idle'] : [];
  await runHolder({
    runDir: pathsOf(config).device,
    agentCommand: thawCommand(config, ['agent', ...idle]),
    stopAtEndOfInput: options.stopWithParent === true,
    log,
  });
}

async function agent(context: CliContext, options: IdleOption): Promise<void> {
  const { config, log } = context;
  const paths = pathsOf(config);
  const store = await openDirectoryStore(paths.store);
  const keyService = await openLocalKeyring(paths.keyring);
  await using opener = createOpenPool();
  await runAgent({
    runDir: paths.device,
    manifests: {
      fetch: async ({ rootId, manifestId }) => {
        const sealed = await store.get(manifestObjectName(rootId, manifestId));
        if (sealed === undefined) throw new ManifestMissingError(manifestId, rootId);
        return sealed;
      },
      open: async ({ tenant, manifestId }, sealed) =>
        await openManifest(sealed, { tenant, keyService, manifestId }),
    },
    loader: createChunkLoader({ store, opener }),
    memoryBytes: config.cacheMemoryBytes,
    readDeadlineMs: config.readDeadlineMs,
    overlayDir: paths.overlays,
    exitWhenIdle: options.exitWhenIdle === true,
    log,
  });
}
