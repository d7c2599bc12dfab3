/** The `thaw` program: parses the command line, runs one command, ends with the status of its cause. */

import { Command, CommanderError, Option } from 'commander';

import { errorCode, errorMessage, ThawError } from '../base/index.ts';
import { commandGroups } from './commands/index.ts';
import { CliContext } from './context.ts';
import { exitCauseOf, exitStatuses, type ExitCause } from './exit-status.ts';

function exitStatusHelp(): string {
  const rows = Object.values(exitStatuses).map(
    ({ status, meaning }) => `  ${String(status).padStart(3)}  ${meaning}`,
  );
  return `\nExit status:\n${rows.join('\n')}\n`;
}

function buildProgram(context: CliContext): Command {
  const program = new Command('thaw')
    .description('Starts container images of any size in tenths of a second')
    .version(context.version)
    .option('--root <dir>', 'keep all state under this directory (also THAW_ROOT)')
    .option('--config <file>', 'configuration file (default: /etc/thaw/config.toml)')
    .option('--log-level <level>', 'debug, info, warn or error')
    .addOption(new Option('--settings <json>').hideHelp()) // how one thaw process starts another
    .addHelpText('after', exitStatusHelp())
    .showSuggestionAfterError()
    .exitOverride()
    .hook('preAction', async (_program, action) => {
      await context.configure(action.optsWithGlobals());
    });
  for (const addTo of commandGroups) addTo(program, context);
  return program;
}

function reportFailure(context: CliContext, thrown: unknown): ExitCause {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 'ok' : 'usage';
  const cause = exitCauseOf(thrown);
  context.bars.clear();
  if (cause === 'interrupted') process.stderr.write('thaw: interrupted\n');
  else process.stderr.write(`thaw: ${errorMessage(thrown)}\n`);
  const isUnforeseen = cause === 'bug' && thrown instanceof Error;
  if (isUnforeseen || context.isDebug) {
    const code = thrown instanceof ThawError ? ` (${errorCode(thrown)})` : '';
    process.stderr.write(`${thrown instanceof Error ? thrown.stack : ''}${code}\n`);
  }
  return cause;
}

/** A reader that wants no more (`thaw … | head -1`) is no failure of ours; output that is lost otherwise is. */
function watchOutput(): void {
  process.stderr.on('error', () => {}); // nobody is left to be told
  process.stdout.on('error', (thrown: unknown) => {
    if (errorCode(thrown) === 'EPIPE') return;
    process.stderr.write(`thaw: Cannot write the result: ${errorMessage(thrown)}\n`);
    process.exitCode = exitStatuses[exitCauseOf(thrown)].status;
  });
}

/** Runs the command and gives back what it used, whichever of the two fails. */
async function run(context: CliContext): Promise<void> {
  try {
    await buildProgram(context).parseAsync();
  } finally {
    await context.close();
  }
}

async function main(): Promise<ExitCause> {
  const context = new CliContext();
  try {
    await run(context);
    return context.cause;
  } catch (thrown) {
    return reportFailure(context, thrown);
  }
}

watchOutput();
const cause = await main();
process.exitCode ??= exitStatuses[cause].status;
