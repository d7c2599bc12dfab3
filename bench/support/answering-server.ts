/** A thread that answers each request, a length as u32, with so many bytes: what a link is measured with. */

import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { parentPort } from 'node:worker_threads';

const answerMaxBytes = 512 * 1024 * 1024;
const piece = Buffer.alloc(1024 * 1024, 'thaw');

const server = createServer({ noDelay: true }, (socket) => {
  let read = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (bytes: Buffer) => {
    read = Buffer.concat([read, bytes]);
    for (; read.byteLength >= 4; read = read.subarray(4)) {
      let left = Math.min(read.readUInt32LE(0), answerMaxBytes);
      for (; left > 0; left -= piece.byteLength) socket.write(piece.subarray(0, left));
    }
  });
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
parentPort?.postMessage((server.address() as AddressInfo).port);
