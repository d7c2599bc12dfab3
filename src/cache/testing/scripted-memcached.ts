/** A server on loopback that answers memcached's clients with what a test tells it, right or wrong, when it is told to. */

import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';

import { present } from '../../base/index.ts';
import type { MemcachedAddress } from '../memcached/memcached-address.ts';

/** One connection, as the server sees it. */
export class ScriptedConnection {
  readonly socket: Socket;
  /** Lines that came, without their ends. */
  readonly lines: string[] = [];
  isGone = false;
  /** A line whose end has not come yet, in pieces. */
  #rest: string[] = [];
  #wake = Promise.withResolvers<void>();

  constructor(socket: Socket, answer: (line: string) => string | Uint8Array | undefined) {
    this.socket = socket;
    socket.on('error', () => {}); // clients reset what they give up
    socket.once('close', () => {
      this.isGone = true;
      this.#wake.resolve();
    });
    socket.on('data', (bytes: Buffer) => {
      const text = bytes.toString('latin1');
      this.#rest.push(text);
      if (!text.includes('\n')) return;
      const lines = this.#rest.join('').split('\r\n');
      this.#rest = [lines.pop() ?? ''];
      for (const line of lines) {
        this.lines.push(line);
        const bytesToSend = answer(line);
        if (bytesToSend !== undefined) this.send(bytesToSend);
      }
      this.#wake.resolve();
      this.#wake = Promise.withResolvers<void>();
    });
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** Resolves when so many lines have come. */
  async heard(countLines: number): Promise<void> {
    while (this.lines.length < countLines) {
      if (this.isGone) throw new Error(`The client is gone after ${this.lines.length} lines`);
      await this.#wake.promise;
    }
  }

  async gone(): Promise<void> {
    while (!this.isGone) await this.#wake.promise;
  }
}

export interface ScriptedMemcached extends AsyncDisposable {
  readonly address: MemcachedAddress;
  /** Every connection so far, oldest first. */
  readonly connections: readonly ScriptedConnection[];
  /** Resolves when there have been so many connections. */
  readonly connected: (count: number) => Promise<ScriptedConnection>;
}

/** `answer` is asked for each line that comes; undefined: nothing yet. */
export async function startScriptedMemcached(
  answer: (line: string) => string | Uint8Array | undefined = () => undefined,
): Promise<ScriptedMemcached> {
  const connections: ScriptedConnection[] = [];
  const server = createServer((socket) => connections.push(new ScriptedConnection(socket, answer)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    address: { host: '127.0.0.1', port },
    connections,
    connected: async (count) => {
      while (connections.length < count) await once(server, 'connection');
      return present(connections[count - 1], 'the connection');
    },
    [Symbol.asyncDispose]: async () => {
      for (const { socket } of connections) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
