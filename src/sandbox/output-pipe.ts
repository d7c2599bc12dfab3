/** Carries what a sandbox's processes print. */

import { closeSync } from 'node:fs';
import { Socket } from 'node:net';

import { pipe } from './syscalls.ts';

export interface OutputPipe {
  /** For the processes; this process closes its own by `closeOwn` once it has handed it on. */
  readonly writeFd: number;
  /** Resolves when all writers have closed their ends and everything has been handed on. */
  readonly ended: Promise<void>;
  closeOwn(): void;
}

/** A pipe whose contents `output` gets as they come. */
export function openOutputPipe(output: (data: Uint8Array) => void): OutputPipe {
  const { readFd, writeFd } = pipe();
  const ended = new Promise<void>((resolve) => {
    const socket = new Socket({ fd: readFd, readable: true, writable: false });
    socket.on('data', (data: Buffer) => output(data));
    socket.once('error', () => socket.destroy());
    socket.once('close', () => resolve());
  });
  return { writeFd, ended, closeOwn: () => closeSync(writeFd) };
}
