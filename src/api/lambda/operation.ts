/** What an operation of the API is made of: where it is called, and what it does with a call. */

import type { Readable } from 'node:stream';

import { errorCode } from '../../base/index.ts';
import { latestVersion, type FunctionNetwork } from '../../catalog/index.ts';
import type {
  FunctionControl,
  FunctionDescription,
  FunctionRef,
  FunctionRuns,
} from '../../functions/index.ts';
import {
  functionArn,
  parseFunctionName,
  type ArnScope,
  type FunctionName,
} from './function-name.ts';
import { JsonFields } from './json-fields.ts';
import { LambdaError } from './lambda-error.ts';

/** The part of a worker that the API speaks for. */
export type LambdaFunctions = FunctionControl & FunctionRuns;

/** Answers one request. `json`, `bytes` and `stream`: at most one of them. */
export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly json?: unknown;
  readonly bytes?: Uint8Array;
  readonly stream?: Readable;
}

/** A request whose sender is known and whose body is read. */
export interface Call {
  readonly functions: LambdaFunctions;
  readonly tenant: string;
  /** Those that tenants may choose for their functions. */
  readonly networks: readonly FunctionNetwork[];
  /** The tenant's own account. */
  readonly scope: ArnScope;
  /** Parts of the path by their names in the operation's template, decoded. */
  readonly labels: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** `name` in lower case; several of one name are joined. */
  readonly header: (name: string) => string | undefined;
  readonly body: Uint8Array;
  /** What function URLs begin with, e.g. `http://127.0.0.1:9370/url/`. */
  readonly urlBase: string;
  /** What this tenant's function URLs end in: empty for the default tenant. */
  readonly urlSuffix: string;
  /** Where the code of a zip function can be downloaded from, for a while. */
  readonly codeUrlOf: (version: Required<FunctionRef>) => string;
  /** Says what the call is about where its path does not, for the words of errors. */
  readonly isAbout: (of: FunctionName) => void;
}

export interface Operation {
  /** As in Lambda's model. */
  readonly name: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** As in Lambda's model: `/VERSION/functions/{FunctionName}/…`. */
  readonly path: string;
  /** A longer body is refused. Default 1 MiB. */
  readonly bodyMaxBytes?: number;
  /** Throws `LambdaError`, and what the functions room throws. */
  readonly run: (call: Call) => Promise<Answer>;
}

/** The function that a call names in its path, and by `Qualifier`. */
export function functionOf(call: Call): FunctionRef {
  const qualifier = call.query.get('Qualifier') ?? undefined;
  const named = parseFunctionName(label(call, 'FunctionName'), call.scope, qualifier || undefined);
  return { tenant: call.tenant, ...named };
}

/** For operations that are about the function: `$LATEST` is it, a version or an alias is not. */
export function wholeFunctionOf(call: Call): FunctionRef {
  const { qualifier, ...of } = functionOf(call);
  if (qualifier === undefined || qualifier === latestVersion) return of;
  throw new LambdaError(
    'InvalidParameterValueException',
    'This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. ' +
      'Please specify either a function name or an unqualified function ARN.',
  );
}

/** What settings are kept for under this key: the function itself under none, else a version or alias of it. */
export function keptFor(of: FunctionRef, key: string): FunctionRef {
  return key === '' ? of : { ...of, qualifier: key };
}

/** The function, where operations have words of their own for one that is not there. */
export async function foundOr(
  { functions }: Call,
  of: FunctionRef,
  words: string,
): Promise<FunctionDescription> {
  return await functions.find(of).catch((thrown: unknown) => {
    if (errorCode(thrown) !== 'ERR_FUNCTION_NOT_FOUND') throw thrown;
    throw new LambdaError('ResourceNotFoundException', words);
  });
}

export function label(call: Pick<Call, 'labels'>, name: string): string {
  return call.labels[name] ?? '';
}

export function arnOf(call: Pick<Call, 'scope'>, of: FunctionRef): string {
  return functionArn(call.scope, of);
}

export function fieldsOf(call: Call): JsonFields {
  return JsonFields.parse(call.body);
}

export function ok(json: unknown): Answer {
  return { status: 200, json };
}

export function created(json: unknown): Answer {
  return { status: 201, json };
}

export const noContent: Answer = { status: 204 };
