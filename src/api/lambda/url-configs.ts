/** Which functions have a URL, and how it is used. Requests to the URLs themselves: `function-url.ts`. */

import { defined } from '../../base/index.ts';
import type { FunctionUrl } from '../../catalog/index.ts';
import type { FunctionRef, FunctionUrlRequest } from '../../functions/index.ts';
import { LambdaError } from './lambda-error.ts';
import {
  arnOf,
  created,
  fieldsOf,
  foundOr,
  functionOf,
  keptFor,
  noContent,
  ok,
  wholeFunctionOf,
  type Answer,
  type Call,
  type Operation,
} from './operation.ts';
import type { JsonFields } from './json-fields.ts';
import { corsFrom, corsShape } from './url-cors.ts';

const path = '/2021-10-31/functions/{FunctionName}/url';

export const urlOperations: readonly Operation[] = [
  { name: 'CreateFunctionUrlConfig', method: 'POST', path, run: createUrl },
  { name: 'GetFunctionUrlConfig', method: 'GET', path, run: getUrl },
  { name: 'UpdateFunctionUrlConfig', method: 'PUT', path, run: updateUrl },
  { name: 'DeleteFunctionUrlConfig', method: 'DELETE', path, run: deleteUrl },
  { name: 'ListFunctionUrlConfigs', method: 'GET', path: `${path}s`, run: listUrls },
];

async function createUrl(call: Call): Promise<Answer> {
  const of = ownerOf(call);
  const asked = urlRequest(fieldsOf(call));
  if (asked.authType === undefined) {
    throw new LambdaError(
      'ValidationException',
      "1 validation error detected: Value null at 'authType' failed to satisfy constraint: Member must not be null",
    );
  }
  if ((await currentOf(call, of, 'Function does not exist')) !== undefined) {
    throw new LambdaError(
      'ResourceConflictException',
      `Failed to create function url config for [functionArn = ${arnOf(call, of)}]. ` +
        'Error message:  FunctionUrlConfig exists for this Lambda function',
    );
  }
  const url = await call.functions.setUrl(of, { invokeMode: 'BUFFERED', ...asked });
  return created(shapeOfNew(call, of, url));
}

async function getUrl(call: Call): Promise<Answer> {
  const of = ownerOf(call);
  return ok(shapeOf(call, of, await currentOf(call, of)));
}

async function updateUrl(call: Call): Promise<Answer> {
  const of = ownerOf(call);
  const asked = urlRequest(fieldsOf(call));
  if ((await currentOf(call, of)) === undefined) throw notThere();
  return ok(shapeOf(call, of, await call.functions.setUrl(of, asked)));
}

async function deleteUrl(call: Call): Promise<Answer> {
  const of = ownerOf(call);
  if ((await currentOf(call, of)) === undefined) throw notThere();
  await call.functions.setUrl(of, undefined);
  return noContent;
}

/** All at once: a function has no more of them than aliases that somebody made. */
async function listUrls(call: Call): Promise<Answer> {
  const of = wholeFunctionOf(call);
  const { settings } = await call.functions.find(of);
  const urls = Object.entries(settings.urls).map(([qualifier, url]) =>
    shapeOf(call, keptFor(of, qualifier), url),
  );
  return ok({ FunctionUrlConfigs: urls });
}

const notThereWords = 'The resource you requested does not exist.';

/** A URL belongs to a function or to an alias of it. */
function ownerOf(call: Call): FunctionRef {
  const of = functionOf(call);
  if (of.qualifier === undefined || /[^\d]/.test(of.qualifier.replace('$LATEST', '0'))) return of;
  throw new LambdaError(
    'ValidationException',
    `1 validation error detected: Value '${of.qualifier}' at 'qualifier' failed to satisfy constraint: ` +
      'Member must satisfy regular expression pattern: ((?!^\\d+$)^[0-9a-zA-Z-_]+$)',
  );
}

async function currentOf(
  call: Call,
  of: FunctionRef,
  words = notThereWords,
): Promise<FunctionUrl | undefined> {
  const { settings } = await foundOr(call, of, words);
  const { urls } = settings;
  const qualifier = of.qualifier ?? '';
  return Object.hasOwn(urls, qualifier) ? urls[qualifier] : undefined;
}

function urlRequest(fields: JsonFields): FunctionUrlRequest {
  const cors = fields.object('Cors');
  return defined({
    cors: cors === undefined ? undefined : corsFrom(cors),
    authType: fields.oneOf('AuthType', ['NONE', 'AWS_IAM']),
    invokeMode: fields.oneOf('InvokeMode', ['BUFFERED', 'RESPONSE_STREAM']),
  });
}

function shapeOf(call: Call, of: FunctionRef, url: FunctionUrl | undefined): object {
  if (url === undefined) throw notThere();
  const LastModifiedTime = new Date(url.updatedAtMs).toISOString();
  return { ...shapeOfNew(call, of, url), LastModifiedTime };
}

function shapeOfNew(call: Call, of: FunctionRef, url: FunctionUrl | undefined): object {
  if (url === undefined) throw notThere();
  const alias = of.qualifier === undefined ? '' : `:${of.qualifier}`;
  return {
    FunctionUrl: `${call.urlBase}${of.name}${alias}${call.urlSuffix}/`,
    FunctionArn: arnOf(call, of),
    AuthType: url.authType,
    InvokeMode: url.invokeMode,
    ...(url.cors !== undefined && { Cors: corsShape(url.cors) }),
    CreationTime: new Date(url.createdAtMs).toISOString(),
  };
}

function notThere(): LambdaError {
  return new LambdaError('ResourceNotFoundException', notThereWords);
}
