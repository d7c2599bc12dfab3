#!/usr/bin/env node
/**
 * Thaw's Node runtime: loads the handler that `_HANDLER` names and serves it through the Lambda Runtime API.
 *
 * One file, no dependencies, any Node from 18 on; plain JavaScript, because it runs inside images. What handlers see
 * (event, context, callback, errors) is what AWS's Node runtime shows them.
 * Source: AWS Lambda developer guide, "Building Lambda functions with Node.js" and "Using the Lambda runtime API".
 */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { createRequire } from 'node:module';
import { basename, dirname, resolve } from 'node:path';
import { Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';

const environment = process.env;
const [host, port = '80'] = (environment.AWS_LAMBDA_RUNTIME_API ?? '').split(':');
const apiPath = '/2018-06-01/runtime';
/** One connection, kept; while idle it does not keep the process alive, which `beforeExit` below relies on. */
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

/** From Node 24 on handlers are asynchronous: Lambda has no callbacks for them, nor a context that answers. */
const hasCallbacks = Number(process.versions.node.split('.')[0]) < 24;

/** How `streamifyResponse` marks a handler, for whoever does without it. */
const streamingMark = Symbol.for('aws.lambda.runtime.handler.streaming');
const highWaterMarkMark = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');

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

/** As a header may hold it. */
function plainType({ errorType }) {
  return errorType.replaceAll(/[^\w.:$-]/g, '_').slice(0, 256);
}

async function postError(path, error) {
  const description = describe(error);
  process.stderr.write(`${JSON.stringify(description)}\n`);
  await call('POST', path, {
    headers: {
      'Content-Type': 'application/json',
      'Lambda-Runtime-Function-Error-Type': plainType(description),
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
  const file = ['', '.js', '.mjs', '.cjs']
    .map((extension) => resolve(root, name + extension))
    .find((candidate) => statSync(candidate, { throwIfNoEntry: false })?.isFile());
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
  const findIn = (module) => exportPath.reduce((value, key) => value?.[key], module);
  const handler = findIn(exported) ?? findIn(exported?.default);
  if (typeof handler === 'function') return checked(handler);
  const problem = handler === undefined ? 'undefined or not exported' : 'not a function';
  throw new RuntimeError('HandlerNotFound', `${handlerName} is ${problem}`);
}

/** What can be told of a handler before it is called. */
function checked(handler) {
  const mark = handler[streamingMark];
  if (mark && mark !== 'response') {
    throw new RuntimeError('MalformedStreamingHandler', 'Only response streaming is supported.');
  }
  if (!hasCallbacks && !mark && handler.length >= 3) {
    throw new RuntimeError(
      'CallbackHandlerDeprecated',
      'Handlers with a callback are not supported with Node.js 24 and later, as in Lambda: use an async handler',
    );
  }
  return handler;
}

/** The context object; `finish(error, result)` is for handlers that answer through it, where there are any. */
function contextOf(headers, finish) {
  const deadlineMs = Number(headers['lambda-runtime-deadline-ms']);
  const parse = (name) => {
    const text = headers[name];
    // Header values arrive as one character a byte.
    return text === undefined ? undefined : JSON.parse(Buffer.from(text, 'latin1').toString());
  };
  const answers = {
    callbackWaitsForEmptyEventLoop: true,
    done: finish,
    succeed: (result) => finish(undefined, result),
    fail: (error) => finish(error ?? new Error('handled')),
  };
  return {
    ...(finish === undefined ? {} : answers),
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
  };
}

/** Waits for `work`, unless nothing is left that could still end it. */
function unlessIdle(work, problem) {
  return new Promise((resolveWait, rejectWait) => {
    process.once('beforeExit', () => rejectWait(problem));
    work.then(resolveWait, rejectWait);
  }).finally(() => process.removeAllListeners('beforeExit'));
}

function neverSettled() {
  const words =
    'The function has nothing left to do, but has not answered: a promise of it was never settled';
  return new RuntimeError('NodeJsExit', words);
}

/** Runs a handler that answers by what it returns. */
async function run(handler, event, headers) {
  const returned = Promise.resolve(handler(event, contextOf(headers)));
  return await unlessIdle(returned, neverSettled());
}

/** Runs a handler whichever way it answers: a promise, a value, its callback, or its context. */
function runWithCallback(handler, event, headers) {
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
    if (typeof returned?.then === 'function') {
      unlessIdle(returned, neverSettled()).then(resolveRun, rejectRun);
    } else if (returned !== undefined) {
      resolveRun(returned);
    } else {
      process.once('beforeExit', onEmpty); // nothing left that could still call back
    }
  }).finally(() => process.removeAllListeners('beforeExit'));
}

/** What a streaming handler writes to. The request begins with the first byte, or with the end. */
class ResponseStream extends Writable {
  /** Called before the first byte with a function that writes before it. */
  _onBeforeFirstWrite;
  /** Resolves with the status that the Runtime API answers with; undefined where the request failed. */
  answered;
  #resolveAnswered;
  #requestId;
  #contentType = 'application/octet-stream';
  #outgoing;

  constructor(requestId, highWaterMark) {
    super({ decodeStrings: true, ...(highWaterMark === undefined ? {} : { highWaterMark }) });
    this.#requestId = requestId;
    this.answered = new Promise((resolveAnswered) => {
      this.#resolveAnswered = resolveAnswered;
    });
  }

  get hasBegun() {
    return this.#outgoing !== undefined;
  }

  setContentType(contentType) {
    if (this.hasBegun) {
      throw new RuntimeError('InvalidStreamingOperation', 'Cannot set content-type, too late.');
    }
    this.#contentType = contentType;
  }

  /** Other than streams do, it takes any value that JSON can hold. */
  write(chunk, ...rest) {
    const isPlain = typeof chunk === 'string' || chunk instanceof Uint8Array;
    return super.write(isPlain ? chunk : JSON.stringify(chunk), ...rest);
  }

  _write(chunk, encoding, done) {
    this.#begin().write(chunk, done);
  }

  _final(done) {
    this.#begin().end(done);
  }

  /** Ends it with an error, of which the trailers tell. */
  fail(error) {
    const description = describe(error);
    process.stderr.write(`${JSON.stringify(description)}\n`);
    this.#begin().addTrailers({
      'Lambda-Runtime-Function-Error-Type': plainType(description),
      'Lambda-Runtime-Function-Error-Body': Buffer.from(JSON.stringify(description)).toString(
        'base64',
      ),
    });
    if (this.destroyed) this.#outgoing.end();
    else this.end();
  }

  #begin() {
    if (this.#outgoing !== undefined) return this.#outgoing;
    const path = `${apiPath}/invocation/${this.#requestId}/response`;
    const headers = {
      'Content-Type': this.#contentType,
      'Lambda-Runtime-Function-Response-Mode': 'streaming',
      Trailer: 'Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body',
      'Transfer-Encoding': 'chunked',
    };
    const outgoing = request({ host, port, path, method: 'POST', agent, headers }, (response) => {
      response.resume();
      response.once('end', () => this.#resolveAnswered(response.statusCode));
    });
    outgoing.once('error', (error) => {
      this.destroy(error);
      this.#resolveAnswered(undefined);
    });
    this.#outgoing = outgoing;
    this._onBeforeFirstWrite?.((chunk) => outgoing.write(chunk));
    return outgoing;
  }
}

/** What Lambda's own runtime gives handlers in the global `awslambda`. */
const awslambda = {
  streamifyResponse: (handler, options) => {
    handler[streamingMark] = 'response';
    if (typeof options?.highWaterMark === 'number') {
      handler[highWaterMarkMark] = options.highWaterMark;
    }
    return handler;
  },
  HttpResponseStream: {
    /** Begins the stream with a head: JSON, then eight zero bytes. */
    from: (stream, head) => {
      stream.setContentType('application/vnd.awslambda.http-integration-response');
      stream._onBeforeFirstWrite = (write) => {
        write(JSON.stringify(head));
        write(Buffer.alloc(8));
      };
      return stream;
    },
  },
};

function marshal(result) {
  try {
    return JSON.stringify(result === undefined ? null : result) ?? 'null';
  } catch (error) {
    throw new RuntimeError('MarshalError', `Unable to stringify response body: ${error.message}`);
  }
}

async function answerWhole(handler, event, headers, requestId) {
  const result = await (hasCallbacks ? runWithCallback : run)(handler, event, headers);
  const answer = { headers: { 'Content-Type': 'application/json' }, body: marshal(result) };
  const { status } = await call('POST', `/invocation/${requestId}/response`, answer);
  if (status !== 202) process.stderr.write(`The response was refused with ${status}\n`);
}

/** An error that comes before anything was written is an ordinary one. */
async function answerByStream(handler, event, headers, requestId) {
  const stream = new ResponseStream(requestId, handler[highWaterMarkMark]);
  const broken = new Promise((_, rejectBroken) => stream.on('error', rejectBroken));
  try {
    const returned = handler(event, stream, contextOf(headers));
    if (typeof returned?.then !== 'function') {
      throw new Error('Streaming does not support non-async handlers.');
    }
    const ended = returned.then(() => stream.answered);
    await unlessIdle(Promise.race([ended, broken]), new Error('Response stream is not finished.'));
  } catch (error) {
    if (!stream.hasBegun) throw error;
    stream.fail(error);
  }
  const status = await stream.answered;
  if (status !== 202) process.stderr.write(`The response was refused with ${status}\n`);
}

async function serve(handler) {
  const answer = handler[streamingMark] ? answerByStream : answerWhole;
  for (;;) {
    const { headers, text } = await call('GET', '/invocation/next');
    const requestId = headers['lambda-runtime-aws-request-id'];
    currentRequestId = requestId;
    const traceId = headers['lambda-runtime-trace-id'];
    if (traceId === undefined) delete environment._X_AMZN_TRACE_ID;
    else environment._X_AMZN_TRACE_ID = traceId;
    try {
      await answer(handler, JSON.parse(text), headers, requestId);
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

if (!['1', 'true'].includes(environment.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) {
  globalThis.awslambda = { ...globalThis.awslambda, ...awslambda };
}

try {
  await serve(await loadHandler());
} catch (error) {
  await dieOf(error, exitStatus.failed);
}
