/**
 * A timer that is tens of microseconds off and costs nothing while it waits: the kernel's timerfd. Node's own are a millisecond or two
 * off, and waiting for sooner in turns of the event loop takes a whole processor.
 * It lasts as long as its process.
 * Source: timerfd_create(2), linux/time.h.
 */

import { read } from 'node:fs';

import koffi from 'koffi';

const CLOCK_MONOTONIC = 1;
const TFD_CLOEXEC = 0o2_000_000;
/** `struct itimerspec` of a 64-bit machine: interval and value, each seconds and nanoseconds as i64. */
const specBytes = 32;

const library = koffi.load(null);
const timerfdCreate = library.func('int timerfd_create(int clock, int flags)');
const timerfdSettime = library.func(
  'int timerfd_settime(int fd, int flags, const uint8_t *value, void *old)',
);

export class PreciseTimer {
  readonly #fd: number;
  readonly #spec = Buffer.alloc(specBytes);
  readonly #expirations = Buffer.alloc(8);
  readonly #fire: () => void;

  /** `fire` is called once after each `set` whose time has passed. */
  constructor(fire: () => void) {
    this.#fire = fire;
    this.#fd = Number(timerfdCreate(CLOCK_MONOTONIC, TFD_CLOEXEC));
    if (this.#fd < 0) throw new Error('Cannot make a timerfd');
    this.#wait();
  }

  /** In place of what was set before. */
  set(waitMs: number): void {
    const nanoseconds = Math.max(Math.round(waitMs * 1e6), 1); // 0 would disarm it
    this.#spec.writeBigInt64LE(BigInt(Math.floor(nanoseconds / 1e9)), 16);
    this.#spec.writeBigInt64LE(BigInt(nanoseconds % 1e9), 24);
    timerfdSettime(this.#fd, 0, this.#spec, null);
  }

  #wait(): void {
    read(this.#fd, this.#expirations, 0, 8, null, () => {
      this.#wait();
      this.#fire();
    });
  }
}
