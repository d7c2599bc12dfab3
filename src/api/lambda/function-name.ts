/**
 * The names by which requests call functions: a name, a partial ARN, a full ARN, each with or without a qualifier.
 * Source: AWS Lambda API reference, `FunctionName` of each operation.
 */

import { latestVersion } from '../../catalog/index.ts';
import { LambdaError } from './lambda-error.ts';

/** Whose requests these are, and where. */
export interface ArnScope {
  readonly region: string;
  /** 12 digits. */
  readonly accountId: string;
}

/** What a request calls a function. */
export interface FunctionName {
  readonly name: string;
  readonly qualifier?: string;
}

const namePattern =
  /^(?:arn:aws[a-zA-Z-]*:lambda:)?(?:([a-z0-9-]+):(?=\d{12}:))?(?:(\d{12}):(?=function:))?(?:function:)?([a-zA-Z0-9-_]{1,64})(?::(\$LATEST|[a-zA-Z0-9-_]{1,128}))?$/;
const nameMaxLength = 170;

/** In Lambda's words, as its tools know them. */
const arnPattern =
  '(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?';

const qualifierPattern = /^(?:\$LATEST|[a-zA-Z0-9-_]{1,128})$/;

/**
 * `qualifier` is the one that the request gives besides. Throws `LambdaError`: `ValidationException` for what is no name,
 * `AccessDeniedException` for another account's, whether it exists or not, `ResourceNotFoundException` for another region's.
 */
export function parseFunctionName(
  text: string,
  { region, accountId }: ArnScope,
  qualifier?: string,
): FunctionName {
  const found = text.length <= nameMaxLength ? namePattern.exec(text) : null;
  const [, arnRegion, arnAccount, name, arnQualifier] = found ?? [];
  if (name === undefined) throw invalid(text, 'functionName', arnPattern);
  if (arnAccount !== undefined && arnAccount !== accountId) {
    throw new LambdaError(
      'AccessDeniedException',
      'The caller is not authorized to perform this action on functions of another account',
    );
  }
  if (arnRegion !== undefined && arnRegion !== region) {
    throw new LambdaError(
      'ResourceNotFoundException',
      `Functions from '${arnRegion}' are not reachable in this region ('${region}')`,
    );
  }
  if (qualifier !== undefined && !qualifierPattern.test(qualifier)) {
    throw invalid(qualifier, 'qualifier', '(|[a-zA-Z0-9$_-]+)');
  }
  if (qualifier !== undefined && arnQualifier !== undefined && qualifier !== arnQualifier) {
    throw new LambdaError(
      'InvalidParameterValueException',
      'The derived qualifier from the function name does not match the specified qualifier.',
    );
  }
  const given = qualifier ?? arnQualifier;
  return given === undefined ? { name } : { name, qualifier: given };
}

/** Of a tag operation: a function's own ARN. */
export function parseFunctionArn(text: string, scope: ArnScope): FunctionName {
  if (!text.startsWith('arn:')) throw invalid(text, 'resource', `arn:aws:lambda:${arnPattern}`);
  const named = parseFunctionName(text, scope);
  if (named.qualifier !== undefined) {
    throw new LambdaError(
      'InvalidParameterValueException',
      'Tags on function aliases and versions are not supported. Please specify a function ARN.',
    );
  }
  return named;
}

export function functionArn({ region, accountId }: ArnScope, of: FunctionName): string {
  const arn = `arn:aws:lambda:${region}:${accountId}:function:${of.name}`;
  return of.qualifier === undefined ? arn : `${arn}:${of.qualifier}`;
}

/** Of `$LATEST` without its qualifier, as Lambda gives it unless it was asked for by it. */
export function versionArn(
  scope: ArnScope,
  of: { readonly name: string; readonly version: string },
): string {
  const { name, version } = of;
  return functionArn(scope, version === latestVersion ? { name } : { name, qualifier: version });
}

function invalid(value: string, member: string, pattern: string): LambdaError {
  return new LambdaError(
    'ValidationException',
    `1 validation error detected: Value '${value.slice(0, 200)}' at '${member}' failed to satisfy constraint: ` +
      `Member must satisfy regular expression pattern: ${pattern}`,
  );
}
