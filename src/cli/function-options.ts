/** The options of `thaw function create` and `thaw function update`, and what they ask for. */

import { resolve } from 'node:path';

import { InvalidArgumentError, Option, type Command } from 'commander';

import type { CodeSource } from '../api/index.ts';
import { defined } from '../base/index.ts';
import type { FunctionConfigurationRequest } from '../functions/index.ts';
import type { CliContext } from './context.ts';
import { convertImage } from './convert-image.ts';
import { compressOption, type ConvertOptions } from './convert-request.ts';
import { UsageError } from './errors.ts';
import { parseInteger } from './parse-integer.ts';
import { isImageSource } from './source.ts';

/** As typed. */
export interface FunctionOptions extends Omit<ConvertOptions, 'name'> {
  readonly image?: string;
  readonly zip?: string;
  readonly runtime?: string;
  readonly handler?: string;
  readonly description?: string;
  readonly memory?: number;
  readonly timeout?: number;
  readonly tmp?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly workdir?: string;
  readonly network?: 'none' | 'nat' | 'host';
  readonly webPort?: number;
  readonly webReadyPath?: string;
  readonly publish?: boolean;
  readonly profileOnPublish?: boolean;
  readonly json?: boolean;
}

/** Adds them all to a command. */
export function addFunctionOptions(command: Command): Command {
  return command
    .option('--image <source-or-id>', 'a published image, or a source to publish first')
    .option('--zip <file>', 'a zip archive; needs a runtime and a handler')
    .option('--runtime <name>', 'what the archive runs in, see "thaw runtime ls"')
    .option('--handler <handler>', "of the archive, e.g. 'index.handler'")
    .option('--description <text>', 'for people')
    .option('--memory <mb>', 'memory limit in MB', parseInteger)
    .option('--timeout <seconds>', 'longest invocation', parseInteger)
    .option('--tmp <mb>', 'size of /tmp in MB', parseInteger)
    .option('--env <key=value>', 'environment variable; repeat for more', collectPairs)
    .option('--entrypoint <json>', "JSON array in place of the image's entry point", parseStrings)
    .option('--command <json>', "JSON array in place of the image's command", parseStrings)
    .option('--workdir <dir>', "in place of the image's working directory")
    .addOption(new Option('--network <mode>', 'what it reaches').choices(['none', 'nat', 'host']))
    .option('--web-port <port>', 'its program is a web server on this port', parseInteger)
    .option('--web-ready-path <path>', 'a GET of it tells that the web server is ready')
    .option('--publish', 'publish a version of it as well')
    .option('--profile-on-publish', 'initialise it once now, so that its first start is fast')
    .option('--platform <platform>', 'when publishing an image: os/arch[/variant]')
    .addOption(compressOption('when publishing an image: compress chunks before encryption'))
    .option('--plain-http', 'when publishing an image: talk to the registry without TLS')
    .option('--user <user:password>', 'when publishing an image: registry credentials');
}

/** `KEY=VALUE` options, collected. */
export function collectPairs(
  pair: string,
  collected: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const equals = pair.indexOf('=');
  if (equals < 1) throw new InvalidArgumentError('It must be KEY=VALUE.');
  return { ...collected, [pair.slice(0, equals)]: pair.slice(equals + 1) };
}

function parseStrings(text: string): readonly string[] {
  const problem = 'It must be a JSON array of strings.';
  try {
    const parsed: unknown = JSON.parse(text);
    if (Array.isArray(parsed) && parsed.every((item) => typeof item === 'string')) return parsed;
  } catch {
    throw new InvalidArgumentError(problem);
  }
  throw new InvalidArgumentError(problem);
}

/** What was not typed is left out. Throws `ERR_CLI_USAGE`. */
export function configurationIn(options: FunctionOptions): FunctionConfigurationRequest {
  const { entrypoint, command, workdir: workingDir, webPort, webReadyPath } = options;
  if (webReadyPath !== undefined && webPort === undefined) {
    throw new UsageError('Cannot use "--web-ready-path" without "--web-port": give the port, too');
  }
  const imageConfig = defined({ entrypoint, command, workingDir });
  return defined({
    description: options.description,
    memoryMb: options.memory,
    timeoutSeconds: options.timeout,
    ephemeralStorageMb: options.tmp,
    environment: options.env,
    imageConfig: Object.keys(imageConfig).length === 0 ? undefined : imageConfig,
    runtime: options.runtime,
    handler: options.handler,
    network: options.network,
    webServer:
      webPort === undefined ? undefined : { port: webPort, readyPath: webReadyPath ?? '/' },
  });
}

/** The code that was named, published first where it is a source; undefined if none was. Throws `ERR_CLI_USAGE`. */
export async function codeIn(
  context: CliContext,
  options: FunctionOptions,
): Promise<CodeSource | undefined> {
  const { image, zip } = options;
  if (image !== undefined && zip !== undefined) {
    throw new UsageError(
      'Cannot use "--image" and "--zip" together: a function has one or the other',
    );
  }
  if (image !== undefined && isImageSource(image)) {
    const published = await convertImage(context, image, options);
    return { image: published.image.manifestId };
  }
  checkNothingToPublish(options);
  if (zip !== undefined) return { zipPath: resolve(zip) };
  return image === undefined ? undefined : { image };
}

/** Throws `ERR_CLI_USAGE`: what says how to publish would be passed over. */
function checkNothingToPublish({
  image,
  platform,
  compress,
  plainHttp,
  user,
}: FunctionOptions): void {
  const given = Object.entries({ platform, compress, 'plain-http': plainHttp, user });
  const name = given.find(([, value]) => value !== undefined)?.[0];
  if (name === undefined) return;
  const why =
    image === undefined ? 'without an image' : `with the image "${image}", which is published`;
  throw new UsageError(`Cannot use "--${name}" ${why}: give its source`);
}
