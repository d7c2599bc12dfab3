/**
 * A process of its own that answers GET as S3 does, with the files of a directory, at the least cost: with a real server on the same
 * machine one would measure that. Prints its port, and ends with its standard input. Argument: the directory.
 */

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';

const directory = process.argv[2] ?? '';
const server = createServer((request, response) => {
  const { pathname } = new URL(request.url ?? '/', 'http://origin');
  request.resume();
  readFile(join(directory, normalize(pathname))).then(
    (bytes) =>
      response.writeHead(200, { 'content-length': bytes.byteLength, etag: '"1"' }).end(bytes),
    () => response.writeHead(404, { 'content-type': 'application/xml' }).end(noSuchKey),
  );
});
const noSuchKey = '<Error><Code>NoSuchKey</Code></Error>';
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
});
process.stdin.resume().on('end', () => process.exit());
