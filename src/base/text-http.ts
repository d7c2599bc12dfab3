/** Pages of plain text over HTTP, for programs such as Prometheus that ask by GET. */

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Pages by path. What one throws is told as status 500, without its message. */
export type TextPages = Readonly<Record<string, () => Promise<string>>>;

/** Of Prometheus's text format, and right for any other plain text. */
const contentType = 'text/plain; version=0.0.4; charset=utf-8';

/** True if it is a GET of one of the pages: then the response is taken care of. */
export function answerText(
  pages: TextPages,
  request: IncomingMessage,
  response: ServerResponse,
): boolean {
  const path = (request.url ?? '').split('?', 1)[0] ?? '';
  const page = Object.hasOwn(pages, path) ? pages[path] : undefined;
  if (page === undefined || (request.method !== 'GET' && request.method !== 'HEAD')) return false;
  page().then(
    (text) => response.writeHead(200, { 'content-type': contentType }).end(text),
    () => response.writeHead(500, { 'content-type': contentType }).end('It failed: see the log\n'),
  );
  return true;
}

export interface TextServer extends AsyncDisposable {
  /** That it listens on: chosen by the system where 0 was asked for. */
  readonly port: number;
}

/** Serves the pages, and 404 for all else, until it is disposed of. Throws system errors such as EADDRINUSE. */
export async function serveText(
  { host, port }: { readonly host: string; readonly port: number },
  pages: TextPages,
): Promise<TextServer> {
  const server = createServer((request, response) => {
    if (answerText(pages, request, response)) return;
    response.writeHead(404, { 'content-type': contentType }).end('There is no such page\n');
  });
  server.listen(port, host);
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}
