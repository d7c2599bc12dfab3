/**
 * Calls between the processes of one machine: HTTP over a Unix socket that only its owner can open. A request is JSON; an
 * answer is lines of JSON, any number of `{"event": …}` and then one `{"result": …}` or `{"error": …}`. A
 * `ThawError` thrown by a route arrives at the caller as an error of the same code.
 */

import { once } from 'node:events';
import { unlink } from 'node:fs/promises';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { connect } from 'node:net';

import { answerText, type TextPages } from './text-http.ts';
import { ThawError, errorCode, errorFromJson, errorToJson, type ErrorJson } from './errors.ts';

/** What a route can use besides the request. */
export interface UnixCall {
  /** Aborted when the caller hangs up. */
  readonly signal: AbortSignal;
  /** Sends the caller something JSON-shaped ahead of the result. */
  readonly emit: (event: unknown) => void;
  /** Resolves when what was emitted is on its way, or will never be; for routes that emit without end. */
  readonly drained: () => Promise<void>;
}

/** Answers one call; what it returns is sent as JSON (undefined as `null`). `body` is unchecked input. */
export type UnixRoute = (body: unknown, call: UnixCall) => Promise<unknown>;
/** Keys are `METHOD /path`, matched as a whole. */
export type UnixRoutes = Readonly<Record<string, UnixRoute>>;

export interface UnixServer extends AsyncDisposable {
  readonly socketPath: string;
  /** Takes no further calls, waits for those under way and removes the socket. */
  close(): Promise<void>;
}

export interface UnixCallOptions {
  readonly signal?: AbortSignal;
  /** For the whole call; `Infinity` waits as long as the other process lives. Default 60,000. */
  readonly timeoutMs?: number;
}

export interface UnixEventOptions {
  /** Gets what the route emits, as it comes. */
  readonly onEvent?: (event: unknown) => void;
}

type AnswerLine =
  | { readonly event: unknown }
  | { readonly result: unknown }
  | { readonly error: ErrorJson };

/** Longer requests are refused: a function's payload (6 MB, quoted once) is the longest that travels. */
const bodySizeMaxBytes = 16 * 1024 * 1024;

export class UnixCallError extends ThawError {
  constructor(code: string, message: string, cause?: unknown) {
    super({ code, fault: 'environment', message, retryable: true, cause });
  }
}

class BadCallError extends ThawError {
  constructor(code: string, message: string) {
    super({ code, fault: 'caller', message });
  }
}

async function readJson(message: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  for await (const part of message as AsyncIterable<Buffer>) {
    sizeBytes += part.byteLength;
    if (sizeBytes > bodySizeMaxBytes) {
      throw new BadCallError(
        'ERR_UNIX_BODY_TOO_LONG',
        `Cannot take a body longer than ${bodySizeMaxBytes} bytes over a Unix socket`,
      );
    }
    parts.push(part);
  }
  return sizeBytes === 0 ? undefined : (JSON.parse(Buffer.concat(parts).toString()) as unknown);
}

async function answer(
  routes: UnixRoutes,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const hungUp = new AbortController();
  response.once('close', () => {
    if (response.writableFinished) return;
    hungUp.abort(new DOMException('The caller hung up', 'AbortError'));
  });
  const send = (line: AnswerLine): void => {
    if (!response.destroyed) response.write(`${JSON.stringify(line)}\n`);
  };
  const drained = async (): Promise<void> => {
    if (!response.writableNeedDrain) return;
    await once(response, 'drain', { signal: hungUp.signal }).catch(() => {});
  };
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  try {
    const target = `${request.method} ${request.url}`;
    const route = Object.hasOwn(routes, target) ? routes[target] : undefined;
    if (route === undefined) {
      throw new BadCallError(
        'ERR_UNIX_NO_ROUTE',
        `Cannot serve "${target}": no such call; client and server may be of different versions`,
      );
    }
    const emit = (event: unknown): void => send({ event });
    const call = { signal: hungUp.signal, emit, drained };
    const result = await route(await readJson(request), call);
    send({ result: result ?? null });
  } catch (thrown) {
    send({ error: errorToJson(thrown) });
  }
  response.end();
}

/** True if a process listens there. */
export async function isListening(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/**
 * Listens on `socketPath` (mode 0600), taking the place of a socket whose process is gone. `pages` are answered as text.
 * Throws `ERR_UNIX_SOCKET_IN_USE` if another process listens there.
 */
export async function serveUnixJson(
  socketPath: string,
  routes: UnixRoutes,
  pages: TextPages = {},
): Promise<UnixServer> {
  if (await isListening(socketPath)) {
    throw new ThawError({
      code: 'ERR_UNIX_SOCKET_IN_USE',
      fault: 'environment',
      message: `Cannot listen on "${socketPath}": another process does; stop it first`,
    });
  }
  await unlink(socketPath).catch((thrown: unknown) => {
    if (errorCode(thrown) !== 'ENOENT') throw thrown;
  });
  const answers = new Set<Promise<void>>();
  const server = createServer((request, response) => {
    if (answerText(pages, request, response)) return;
    const answering = answer(routes, request, response).finally(() => answers.delete(answering));
    answers.add(answering);
  });
  server.requestTimeout = 0; // a call takes as long as its route
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // The socket is made inside listen(): a mode set afterwards would leave it open for a moment.
    const umask = process.umask(0o177);
    server.listen(socketPath, resolve);
    process.umask(umask);
  });
  const close = async (): Promise<void> => {
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeIdleConnections();
    });
    await Promise.all(answers); // also those whose callers have hung up
  };
  return { socketPath, close, [Symbol.asyncDispose]: close };
}

/**
 * Calls `method path` at the process that listens on `socketPath`, and returns what it answers.
 * Throws what the route threw, `signal`'s reason, `ERR_UNIX_NOT_RUNNING` when nobody listens, `ERR_UNIX_CALL_LOST`
 * when the process went away before it answered, and `ERR_UNIX_TIMEOUT`.
 */
export async function callUnixJson(
  socketPath: string,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
  { onEvent, ...options }: UnixCallOptions & UnixEventOptions = {},
): Promise<unknown> {
  const answer = streamUnixJson(socketPath, method, path, body, options);
  for (;;) {
    const { done, value } = await answer.next();
    if (done === true) return value;
    onEvent?.(value);
  }
}

/**
 * As `callUnixJson`, giving what the route emits as it is asked for: a route that awaits `drained` emits no faster than
 * that. Leaving the loop early hangs up.
 */
export async function* streamUnixJson(
  socketPath: string,
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
  options: UnixCallOptions = {},
): AsyncGenerator<unknown, unknown, undefined> {
  const { signal, timeoutMs = 60_000 } = options;
  const timeout = timeoutMs === Infinity ? undefined : AbortSignal.timeout(timeoutMs);
  const ended = AbortSignal.any([signal, timeout].filter((given) => given !== undefined));
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = httpRequest(
        { socketPath, method, path, signal: ended, agent: false },
        resolve,
      );
      request.once('error', reject);
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
    return yield* readAnswer(response);
  } catch (thrown) {
    signal?.throwIfAborted();
    if (thrown instanceof ThawError) throw thrown;
    throw callFailure(socketPath, `${method} ${path}`, timeout?.aborted === true, thrown);
  }
}

async function* readAnswer(response: IncomingMessage): AsyncGenerator<unknown, unknown, undefined> {
  for await (const text of linesOf(response)) {
    const line = JSON.parse(text) as AnswerLine;
    if ('error' in line) throw errorFromJson(line.error);
    if ('result' in line) return line.result ?? undefined;
    yield line.event;
  }
  throw new Error('The answer ended without a result');
}

/** Throws what ends the stream before its time, as node:readline does not: it would wait for ever. */
async function* linesOf(stream: IncomingMessage): AsyncGenerator<string> {
  stream.setEncoding('utf8');
  let rest = '';
  for await (const text of stream as AsyncIterable<string>) {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

function callFailure(
  socketPath: string,
  call: string,
  timedOut: boolean,
  thrown: unknown,
): UnixCallError {
  const code = errorCode(thrown);
  if (timedOut) {
    const message = `Cannot wait longer for "${call}" on "${socketPath}": its time is up`;
    return new UnixCallError('ERR_UNIX_TIMEOUT', message, thrown);
  }
  if (code === 'ENOENT' || code === 'ECONNREFUSED') {
    const message = `Cannot reach "${socketPath}": no process listens there`;
    return new UnixCallError('ERR_UNIX_NOT_RUNNING', message, thrown);
  }
  const message = `Cannot finish "${call}" on "${socketPath}": the process there went away`;
  return new UnixCallError('ERR_UNIX_CALL_LOST', message, thrown);
}
