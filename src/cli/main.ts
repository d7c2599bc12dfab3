/** The `thaw` program: parses the command line, runs one command, ends with the status of its cause. */

import { Command, CommanderError, Option } from 'commander';

import { defined, errorCode, errorMessage, ThawError } from '../base/index.ts';
import { commandGroups } from './commands/index.ts';
import { CliContext } from './context.ts';
import { UsageError } from './errors.ts';
import { exitCauseOf, exitStatuses, type ExitCause } from './exit-status.ts';
import { withoutControls } from './format.ts';

function exitStatusHelp(): string {
  const rows = Object.values(exitStatuses).map(
    ({ status, meaning }) => `  ${String(status).padStart(3)}  ${meaning}`,
  );
  return `\nExit status:\n${rows.join('\n')}\n`;
}

/** As the commands understand it, also where they could not be told apart. */
function wantsJson(): boolean {
  const end = process.argv.indexOf('--');
  return process.argv.slice(0, end === -1 ? undefined : end).includes('--json');
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
    .configureOutput(wantsJson() ? { writeErr: () => {} } : {})
    .hook('preAction', async (_program, action) => {
      await context.configure(action.optsWithGlobals());
    });
  for (const addTo of commandGroups) addTo(program, context);
  return program;
}

function causeOf(thrown: unknown): ExitCause {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 'ok' : 'usage';
  return exitCauseOf(thrown);
}

function reportFailure(context: CliContext, thrown: unknown): ExitCause {
  const cause = causeOf(thrown);
  if (cause === 'ok') return cause;
  context.bars.clear();
  const stack = cause === 'bug' || context.isDebug ? stackOf(thrown) : undefined;
  if (wantsJson()) process.stderr.write(`${JSON.stringify(failureJson(thrown, cause, stack))}\n`);
  else if (!(thrown instanceof CommanderError)) {
    const message = cause === 'interrupted' ? 'interrupted' : errorMessage(thrown);
    process.stderr.write(`thaw: ${withoutControls(message)}\n`);
    if (stack !== undefined) process.stderr.write(stack);
  }
  return cause;
}

function stackOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error)) return undefined;
  const code = thrown instanceof ThawError ? ` (${errorCode(thrown)})` : '';
  return `${thrown.stack}${code}\n`;
}

/** The documented, stable shape of an error with `--json`. */
function failureJson(thrown: unknown, cause: ExitCause, stack: string | undefined): object {
  const usage = thrown instanceof CommanderError ? new UsageError(usageMessage(thrown)) : thrown;
  const code =
    cause === 'interrupted' ? 'ERR_CLI_INTERRUPTED' : (errorCode(usage) ?? 'ERR_INTERNAL');
  const { retryable, details } =
    usage instanceof ThawError ? usage : { retryable: false, details: undefined };
  const { status } = exitStatuses[cause];
  return {
    error: {
      code,
      message: errorMessage(usage),
      status,
      retryable,
      ...defined({ details, stack }),
    },
  };
}

/** Commander says "error: missing required argument 'id'". */
function usageMessage({ message }: CommanderError): string {
  const complaint = message.replace(/^error: /, '');
  return complaint.startsWith('(')
    ? 'Cannot tell what to do: name a command'
    : `Cannot run this: ${complaint}`;
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
