/**
 * A process of its own that answers every GET with one object, at the least cost: with a real server on the same machine
 * one would measure that. Prints its port. Argument: the object's size in bytes.
 */

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const object = Buffer.alloc(Number(process.argv[2]), 'object');
const server = createServer((request, response) => {
  request.resume();
  response.writeHead(200, { 'content-length': object.byteLength, etag: '"1"' }).end(object);
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
});
