/** A connection's socket, plain or TLS, that reads straight into the memory it is told. */

import { connect, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';

import { errorCode, errorMessage } from '../../base/index.ts';
import type { MemcachedAddress } from './memcached-address.ts';

export interface SocketEvents {
  /** Where the next bytes are to go: at least one byte of room. */
  readonly target: () => Uint8Array;
  /** That many bytes are in what `target` gave last. */
  readonly received: (countBytes: number) => void;
  /** It can be written to; with TLS: and the other side is who it should be. */
  readonly ready: () => void;
  /** It is of no use any longer, or never was. */
  readonly lost: (reason: string, cause?: unknown) => void;
  /** Nothing of it is left. */
  readonly closed: () => void;
}

/** Starts connecting. */
export function openSocket(address: MemcachedAddress, events: SocketEvents): Socket {
  const { host, port, tls } = address;
  const onread: OnReadOpts = {
    buffer: events.target,
    callback: (countBytes) => {
      events.received(countBytes);
      return true;
    },
  };
  const options = { host, port, noDelay: true, onread };
  const socket = tls === undefined ? connect(options) : connectTls({ ...options, ...named(tls) });
  socket.once(tls === undefined ? 'connect' : 'secureConnect', events.ready);
  socket.on('error', (error) => {
    events.lost(`its connection failed (${errorCode(error) ?? errorMessage(error)})`, error);
  });
  socket.once('end', () => events.lost('it closed the connection'));
  socket.once('close', events.closed);
  return socket;
}

function named({ ca, serverName }: NonNullable<MemcachedAddress['tls']>): ConnectionOptions {
  return {
    ...(ca !== undefined && { ca }),
    ...(serverName !== undefined && { servername: serverName }),
  };
}
