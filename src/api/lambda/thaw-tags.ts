/**
 * What Thaw has and Lambda has not, as tags: AWS's tools let tags through and nothing else that they do not know. These tags are
 * no tags of the function: they are read from its configuration and change it.
 *
 *     thaw:network         none (default), nat, host
 *     thaw:web-port        the image is a web server on this port
 *     thaw:web-ready-path  ready once a GET of this path is answered; default /
 */

import { defined } from '../../base/index.ts';
import type {
  FunctionNetwork,
  FunctionRecord,
  FunctionSettings,
  WebServerSettings,
} from '../../catalog/index.ts';
import type { FunctionConfigurationRequest } from '../../functions/index.ts';
import { LambdaError } from './lambda-error.ts';

type Tags = Readonly<Record<string, string>>;
type ThawSettings = Pick<FunctionConfigurationRequest, 'network' | 'webServer'>;
type Asked = { readonly [Key in keyof ThawSettings]: ThawSettings[Key] | undefined };

const prefix = 'thaw:';
const networkTag = 'thaw:network';
const portTag = 'thaw:web-port';
const readyPathTag = 'thaw:web-ready-path';
const known: readonly string[] = [networkTag, portTag, readyPathTag];

/** Tags of a request, parted into those that are tags and what the others ask for. */
export interface SplitTags {
  readonly tags: Tags;
  /** Empty where none of Thaw's tags was there. */
  readonly settings: ThawSettings;
}

export interface TagRules {
  /** Those that tenants may ask for. */
  readonly networks: readonly FunctionNetwork[];
  /** The web server that the function has: a path may be changed without its port. */
  readonly current?: WebServerSettings | undefined;
}

/** Throws `LambdaError` for what is not among Thaw's tags, or may not be asked for. */
export function splitTags(all: Tags, { networks, current }: TagRules): SplitTags {
  const own = Object.fromEntries(Object.entries(all).filter(([key]) => key.startsWith(prefix)));
  for (const key of Object.keys(own)) checkKnown(key);
  return {
    tags: Object.fromEntries(Object.entries(all).filter(([key]) => !key.startsWith(prefix))),
    settings: {
      ...(own[networkTag] === undefined ? {} : { network: networkOf(own[networkTag], networks) }),
      ...webServerOf(own, current),
    },
  };
}

/** What taking tags of these keys away asks for, and the keys that are of tags. */
export function splitTagKeys(
  keys: readonly string[],
  current?: WebServerSettings,
): { readonly keys: readonly string[]; readonly settings: ThawSettings } {
  const own = keys.filter((key) => key.startsWith(prefix));
  for (const key of own) checkKnown(key);
  return {
    keys: keys.filter((key) => !key.startsWith(prefix)),
    settings: defined<Asked>({
      network: own.includes(networkTag) ? 'none' : undefined,
      webServer: own.includes(portTag) ? null : withoutReadyPath(own, current),
    }),
  };
}

function withoutReadyPath(
  keys: readonly string[],
  current: WebServerSettings | undefined,
): WebServerSettings | undefined {
  const isAsked = keys.includes(readyPathTag) && current !== undefined;
  return isAsked ? { ...current, readyPath: '/' } : undefined;
}

/** A function's tags with Thaw's own. */
export function tagsShown(
  { network, webServer }: FunctionRecord,
  { tags }: Pick<FunctionSettings, 'tags'>,
): Tags {
  return {
    ...tags,
    ...(network === 'none' ? {} : { [networkTag]: network }),
    ...(webServer === undefined
      ? {}
      : { [portTag]: String(webServer.port), [readyPathTag]: webServer.readyPath }),
  };
}

function checkKnown(key: string): void {
  if (known.includes(key)) return;
  throw refusal(`there is no tag "${key.slice(0, 128)}": Thaw's are ${known.join(', ')}`);
}

function networkOf(value: string, networks: readonly FunctionNetwork[]): FunctionNetwork {
  const network = networks.find((each) => each === value);
  if (network !== undefined) return network;
  throw refusal(`"${networkTag}" must be one of ${networks.join(', ')} here`);
}

function webServerOf(own: Tags, current?: WebServerSettings): ThawSettings {
  const { [portTag]: portText, [readyPathTag]: path } = own;
  if (portText === undefined && path === undefined) return {};
  const port = portText === undefined ? current?.port : Number(portText);
  if (port === undefined) throw refusal(`"${readyPathTag}" needs "${portTag}"`);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw refusal(`"${portTag}" must be a whole number from 1 to 65535`);
  }
  const readyPath = path ?? current?.readyPath ?? '/';
  if (!readyPath.startsWith('/')) throw refusal(`"${readyPathTag}" must begin with "/"`);
  return { webServer: { port, readyPath } };
}

function refusal(problem: string): LambdaError {
  return new LambdaError('InvalidParameterValueException', `Cannot take these tags: ${problem}`);
}
