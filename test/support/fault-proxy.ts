/** An HTTP proxy on loopback that passes requests on to one server and spoils the answers it is told to. */

import { once } from 'node:events';
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';

import { serveLocally } from './local-server.ts';

export type Fault =
  /** The connection breaks after so many bytes of the body. */
  | { readonly kind: 'cut'; readonly afterBytes: number }
  /** The body ends well, but early: it is sent in HTTP chunks without a stated length. */
  | { readonly kind: 'truncate'; readonly afterBytes: number }
  /** The body goes on with bytes that do not belong to it. */
  | { readonly kind: 'append'; readonly bytes: Uint8Array }
  /** One bit of the body is wrong. */
  | { readonly kind: 'flip'; readonly atByte: number }
  /** Nothing more comes after so many bytes, but the connection stays. */
  | { readonly kind: 'stall'; readonly afterBytes: number }
  /** The server does not see the request before this has come to pass. */
  | { readonly kind: 'hold'; readonly until: Promise<unknown> }
  /** An answer of the proxy's own. */
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** The server never sees that a range was asked for. */
  | { readonly kind: 'ignore-range' };

export interface ProxiedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  /** Counts the requests from 0. */
  readonly serial: number;
  /** Settles once the whole answer is on its way, or the connection has gone. */
  readonly answered: Promise<void>;
}

export interface FaultProxy extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  /** Every request so far, oldest first. */
  readonly requests: readonly ProxiedRequest[];
}

function passHeaders(
  upstream: IncomingMessage,
  fault: Fault | undefined,
): Record<string, string[]> {
  const headers: Record<string, string[]> = {};
  for (const [name, values] of Object.entries(upstream.headersDistinct)) {
    if (values !== undefined) headers[name] = values;
  }
  if (fault?.kind === 'truncate' || fault?.kind === 'append') delete headers['content-length'];
  return headers;
}

async function* spoiled(
  body: AsyncIterable<Buffer>,
  fault: Fault | undefined,
): AsyncGenerator<Buffer> {
  let sentBytes = 0;
  for await (const chunk of body) {
    const start = sentBytes;
    sentBytes += chunk.byteLength;
    if (fault !== undefined && 'afterBytes' in fault && sentBytes >= fault.afterBytes) {
      yield chunk.subarray(0, fault.afterBytes - start);
      return;
    }
    if (fault?.kind === 'flip' && fault.atByte >= start && fault.atByte < sentBytes) {
      const damaged = Buffer.from(chunk);
      damaged.writeUInt8(damaged.readUInt8(fault.atByte - start) ^ 1, fault.atByte - start);
      yield damaged;
    } else {
      yield chunk;
    }
  }
  if (fault?.kind === 'append') yield Buffer.from(fault.bytes);
}

async function relay(
  upstream: IncomingMessage,
  response: ServerResponse,
  fault: Fault | undefined,
): Promise<void> {
  response.writeHead(upstream.statusCode ?? 502, passHeaders(upstream, fault));
  response.flushHeaders();
  for await (const part of spoiled(upstream as AsyncIterable<Buffer>, fault)) {
    if (!response.write(part)) await once(response, 'drain');
  }
  if (fault?.kind === 'cut') response.destroy();
  else if (fault?.kind !== 'stall') response.end();
}

/** `faultFor` decides for each request; undefined leaves it in peace. */
export async function startFaultProxy(
  targetHost: string,
  faultFor: (request: ProxiedRequest) => Fault | undefined,
): Promise<FaultProxy> {
  const requests: ProxiedRequest[] = [];
  const server = createServer((incoming, response) => {
    const { method = 'GET', url: path = '/', headers } = incoming;
    const answered = new Promise<void>((resolve) => response.once('close', resolve));
    const seen = { method, path, headers, serial: requests.length, answered };
    requests.push(seen);
    const fault = faultFor(seen);
    response.on('error', () => {}); // the client may give up at any time
    if (fault?.kind === 'answer') {
      response.writeHead(fault.status, fault.headers).end(fault.body ?? '');
      return;
    }
    const passed = { ...headers };
    if (fault?.kind === 'ignore-range') delete passed.range;
    const pass = (): void => {
      const outgoing = httpRequest(`http://${targetHost}${path}`, { method, headers: passed });
      outgoing.on('error', () => response.destroy());
      outgoing.on('response', (upstream) => {
        relay(upstream, response, fault).catch(() => response.destroy());
      });
      incoming.pipe(outgoing);
    };
    if (fault?.kind === 'hold') void fault.until.then(pass);
    else pass();
  });
  return { ...(await serveLocally(server)), requests };
}
