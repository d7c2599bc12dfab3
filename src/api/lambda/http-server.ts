/**
 * Lambda's REST API over HTTP or HTTPS. What a client may cost is bounded: connections, headers, bytes held, and the time that
 * it may take over them.
 */

import { once } from 'node:events';
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

import { codeBodyMaxBytes } from './functions.ts';
import { LambdaApi, type LambdaApiLimits, type LambdaApiOptions } from './lambda-api.ts';
import type { ApiRequests } from './request-counts.ts';

export interface LambdaApiServer extends AsyncDisposable {
  /** `http://HOST:PORT` */
  readonly url: string;
  /** Since it began. */
  requests(): ApiRequests;
  /** Takes no further requests and waits for those under way. */
  close(): Promise<void>;
}

const defaultLimits: LambdaApiLimits = {
  connectionsMax: 1024,
  bodiesMaxBytes: 4 * codeBodyMaxBytes, // beside one tenant that holds all it may, there is room for one
  bodyIdleTimeoutMs: 20_000,
  refusedBodyTimeoutMs: 10_000,
  headersTimeoutMs: 20_000,
  requestTimeoutMs: 300_000,
  keepAliveTimeoutMs: 60_000,
  silenceTimeoutMs: 1_000_000,
};

/** Throws system errors such as EADDRINUSE, and those of a certificate that will not do. */
export async function serveLambdaApi(options: LambdaApiOptions): Promise<LambdaApiServer> {
  const limits = { ...defaultLimits, ...options.limits };
  const api = new LambdaApi(options, limits);
  const server = createServer(options.tls, limits);
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    void api.answer(request, response);
  };
  server.on('request', answer);
  server.on('checkExpectation', answer); // what is expected besides 100-continue need not be met
  const cutOff = (): void => server.closeAllConnections();
  options.stopNow?.addEventListener('abort', cutOff, { once: true });
  server.listen(options.port, options.host);
  await once(server, 'listening');
  const close = async (): Promise<void> => {
    await api.stop(server);
    options.stopNow?.removeEventListener('abort', cutOff);
  };
  return {
    url: urlOf(server, options),
    requests: () => api.counts.snapshot(),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function createServer(tls: LambdaApiOptions['tls'], limits: LambdaApiLimits): Server {
  const settings = {
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
  };
  const server =
    tls === undefined
      ? createHttpServer(settings)
      : createHttpsServer({ ...settings, cert: tls.certificate, key: tls.key });
  server.maxConnections = limits.connectionsMax;
  server.timeout = limits.silenceTimeoutMs;
  return server;
}

function urlOf(server: Server, { host, tls }: LambdaApiOptions): string {
  const { port } = server.address() as AddressInfo;
  return `${tls === undefined ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
