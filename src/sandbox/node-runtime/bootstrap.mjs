#!/usr/bin/env node
/**
 * Thaw's Node runtime: loads the handler that `_HANDLER` names and serves it through the Lambda Runtime API.
 *
 * One file, no dependencies, any Node from 18 on; plain JavaScript, because it runs inside images. What handlers see
 * (event, context, callback, errors) is what AWS's Node runtime shows them.
 * Source: AWS Lambda developer guide, "Building Lambda functions with Node.js" and "Using the Lambda runtime API".
 */

import { existsSync, readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { createRequire } from 'node:module';
import { basename, dirname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const environment = process.env;
const [host, port = '80'] = (environment.AWS_LAMBDA_RUNTIME_API ?? '').split(':');
const apiPath = '/2018-06-01/runtime';
/** One connection, kept; while idle it does not keep the process alive, which `beforeExit` below relies on. */
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

/** The exit statuses of AWS's runtime for errors that nobody caught. */
const exitStatus = { failed: 1, unhandledRejection: 128, uncaughtException: 129 };

/** An error of the runtime itself, with Lambda's name for it. */
class RuntimeError extends Error {
  constructor(name, message, stack) {
    super(message);
    this.name = `Runtime.${name}`;
    if (stack !== undefined) this.stack = stack;
  }
}

/** The invocation being served, for errors that reach nobody else. */
let currentRequestId;

function call(method, path, { headers = {}, body } = {}) {
  return new Promise((resolveCall, rejectCall) => {
    const length = body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) };
    const options = { host, port, method, agent, path: apiPath + path };
    const outgoing = request({ ...options, headers: { ...headers, ...length } }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.once('error', rejectCall);
      response.once('end', () => {
        const text = Buffer.concat(parts).toString('utf8');
        resolveCall({ status: response.statusCode, headers: response.headers, text });
      });
    });
    outgoing.once('error', rejectCall);
    outgoing.end(body);
  });
}

/** Lambda's error object. */
function describe(error) {
  if (!(error instanceof Error)) {
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  }
  const trace = typeof error.stack === 'string' ? error.stack.split('\n') : [];
  return { errorType: error.name || 'Error', errorMessage: error.message, trace };
}

async function postError(path, error) {
  const description = describe(error);
  process.stderr.write(`${JSON.stringify(description)}\n`);
  const errorType = description.errorType.replaceAll(/[^\w.:$-]/g, '_').slice(0, 256);
  await call('POST', path, {
    headers: {
      'Content-Type': 'application/json',
      'Lambda-Runtime-Function-Error-Type': errorType,
    },
    body: JSON.stringify(description),
  });
}

/** Reports an error that ends the process to whoever waits: the invocation, or the initialisation. */
async function dieOf(error, status) {
  const path =
    currentRequestId === undefined ? '/init/error' : `/invocation/${currentRequestId}/error`;
  try {
    await postError(path, error);
  } finally {
    process.exit(status);
  }
}

/** `dir/file.export.sub` is the file `dir/file` and the path `export.sub` of what it exports. */
function parseHandler(handler) {
  const name = basename(handler);
  const dot = name.indexOf('.');
  if (handler.split('/').includes('..')) {
    throw new RuntimeError('MalformedHandlerName', `'${handler}' must not contain '..'`);
  }
  if (dot <= 0 || dot === name.length - 1) {
    throw new RuntimeError('MalformedHandlerName', `Bad handler: '${handler}'`);
  }
  return {
    file: `${handler.slice(0, -name.length)}${name.slice(0, dot)}`,
    exportPath: name.slice(dot + 1).split('.'),
  };
}

function isEsModule(file) {
  if (file.endsWith('.mjs')) return true;
  if (file.endsWith('.cjs')) return false;
  for (let directory = dirname(file); ; directory = dirname(directory)) {
    const packageFile = resolve(directory, 'package.json');
    if (existsSync(packageFile)) {
      return JSON.parse(readFileSync(packageFile, 'utf8')).type === 'module';
    }
    if (directory === dirname(directory)) return false;
  }
}

async function loadModule(root, name) {
  const require = createRequire(resolve(root, 'noop.js'));
  const file = ['.js', '.mjs', '.cjs']
    .map((extension) => resolve(root, name + extension))
    .find((candidate) => existsSync(candidate));
  // Not a file of the function's: then a package that it has installed, as AWS's runtime looks for too.
  if (file === undefined) return require(name);
  if (isEsModule(file)) return import(pathToFileURL(file).href);
  try {
    return require(file);
  } catch (error) {
    const needsImport = ['ERR_REQUIRE_ESM', 'ERR_REQUIRE_ASYNC_MODULE'].includes(error?.code);
    if (needsImport) return import(pathToFileURL(file).href);
    throw error;
  }
}

async function loadHandler() {
  const handlerName = environment._HANDLER ?? '';
  const { file, exportPath } = parseHandler(handlerName);
  let exported;
  try {
    exported = await loadModule(resolve(environment.LAMBDA_TASK_ROOT || process.cwd()), file);
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw new RuntimeError('UserCodeSyntaxError', String(error), error.stack);
    }
    if (['MODULE_NOT_FOUND', 'ERR_MODULE_NOT_FOUND'].includes(error?.code)) {
      throw new RuntimeError('ImportModuleError', String(error), error.stack);
    }
    throw error;
  }
  const handler = exportPath.reduce((value, key) => value?.[key], exported);
  if (typeof handler === 'function') return handler;
  const problem = handler === undefined ? 'undefined or not exported' : 'not a function';
  throw new RuntimeError('HandlerNotFound', `${handlerName} is ${problem}`);
}

/** The context object; `finish(error, result)` is for handlers that answer through it. */
function contextOf(headers, finish) {
  const deadlineMs = Number(headers['lambda-runtime-deadline-ms']);
  const parse = (name) => {
    const text = headers[name];
    // Header values arrive as one character a byte.
    return text === undefined ? undefined : JSON.parse(Buffer.from(text, 'latin1').toString());
  };
  return {
    callbackWaitsForEmptyEventLoop: true,
    awsRequestId: headers['lambda-runtime-aws-request-id'],
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    functionName: environment.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: environment.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: environment.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: environment.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: environment.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: parse('lambda-runtime-client-context'),
    identity: parse('lambda-runtime-cognito-identity'),
    getRemainingTimeInMillis: () => deadlineMs - Date.now(),
    done: finish,
    succeed: (result) => finish(undefined, result),
    fail: (error) => finish(error ?? new Error('handled')),
  };
}

/** Runs the handler, whichever way it answers: a promise, a value, its callback, or its context. */
function run(handler, event, headers) {
  return new Promise((resolveRun, rejectRun) => {
    const onEmpty = () => resolveRun(undefined);
    const finish = (error, result) => {
      if (error !== undefined && error !== null) {
        rejectRun(error);
      } else if (context.callbackWaitsForEmptyEventLoop) {
        process.removeListener('beforeExit', onEmpty);
        process.once('beforeExit', () => resolveRun(result));
      } else {
        resolveRun(result);
      }
    };
    const context = contextOf(headers, finish);
    const returned = handler(event, context, finish);
    if (typeof returned?.then === 'function') returned.then(resolveRun, rejectRun);
    else if (returned !== undefined) resolveRun(returned);
    else process.once('beforeExit', onEmpty); // nothing left that could still call back
  }).finally(() => process.removeAllListeners('beforeExit'));
}

function marshal(result) {
  try {
    return JSON.stringify(result === undefined ? null : result) ?? 'null';
  } catch (error) {
    throw new RuntimeError('MarshalError', `Unable to stringify response body: ${error.message}`);
  }
}

async function serve(handler) {
  for (;;) {
    const { headers, text } = await call('GET', '/invocation/next');
    const requestId = headers['lambda-runtime-aws-request-id'];
    currentRequestId = requestId;
    const traceId = headers['lambda-runtime-trace-id'];
    if (traceId === undefined) delete environment._X_AMZN_TRACE_ID;
    else environment._X_AMZN_TRACE_ID = traceId;
    try {
      const body = marshal(await run(handler, JSON.parse(text), headers));
      const answer = { headers: { 'Content-Type': 'application/json' }, body };
      const { status } = await call('POST', `/invocation/${requestId}/response`, answer);
      if (status !== 202) process.stderr.write(`The response was refused with ${status}\n`);
    } catch (error) {
      await postError(`/invocation/${requestId}/error`, error);
    }
  }
}

process.on('uncaughtException', (error) => void dieOf(error, exitStatus.uncaughtException));
process.on('unhandledRejection', (reason) => {
  const message = reason instanceof Error ? `${reason.name}: ${reason.message}` : String(reason);
  const error = new RuntimeError('UnhandledPromiseRejection', message, reason?.stack);
  void dieOf(error, exitStatus.unhandledRejection);
});

try {
  await serve(await loadHandler());
} catch (error) {
  await dieOf(error, exitStatus.failed);
}
