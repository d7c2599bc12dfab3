/** Carries what a sandbox's processes print. */

import { closeSync } from 'node:fs';
import { Socket } from 'node:net';

import { OutputMeter } from './output-meter.ts';
import { pipe } from '../syscalls.ts';

export class OutputPipe implements Disposable {
  /** For the processes; this process closes its own by `closeOwn` once it has handed it on. */
  readonly writeFd: number;
  readonly #readFd: number;
  #isOwnOpen = true;
  #isRead = false;

  constructor() {
    const { readFd, writeFd } = pipe();
    this.#readFd = readFd;
    this.writeFd = writeFd;
  }

  /**
   * Hands on what was written and will be, at a bounded rate: who writes faster waits. Once. Resolves
   * when all writers have closed their ends and everything has been handed on.
   */
  readTo(output: (data: Uint8Array) => void): Promise<void> {
    this.#isRead = true;
    return new Promise((resolve) => {
      const socket = new Socket({ fd: this.#readFd, readable: true, writable: false });
      const meter = new OutputMeter();
      socket.on('data', (data: Buffer) => {
        output(data);
        const pauseMs = meter.take(data.byteLength, performance.now());
        if (pauseMs === 0) return;
        socket.pause();
        setTimeout(() => socket.resume(), pauseMs);
      });
      socket.once('error', () => socket.destroy());
      socket.once('close', () => resolve());
    });
  }

  closeOwn(): void {
    if (this.#isOwnOpen) closeSync(this.writeFd);
    this.#isOwnOpen = false;
  }

  /** Closes what nobody reads, and our own end. */
  [Symbol.dispose](): void {
    this.closeOwn();
    if (!this.#isRead) closeSync(this.#readFd);
    this.#isRead = true;
  }
}
