/**
 * One direction of a link of known bandwidth and delay, shared by any number of flows: when does which byte arrive? Pure, with the
 * time as an argument, so that it can be held to arithmetic.
 *
 * Bytes of one flow arrive in order. The link sends one quantum after another, of flows that have something in turn, each taking
 * size / bandwidth, and each arriving `delayMs` after it was sent. Someone who calls late gets the same times, so that a busy
 * machine makes the link later, but never slower.
 */

export interface LinkShape {
  /** Infinity: none is taken. */
  readonly bitsPerSecond: number;
  /** One way. */
  readonly delayMs: number;
}

/** What a flow hands over: bytes, or its end. */
export type Load = Uint8Array | 'end';

interface Queued<Flow> {
  readonly flow: Flow;
  readonly loads: Load[];
}

interface InTransit<Flow> {
  readonly flow: Flow;
  readonly load: Load;
  readonly dueMs: number;
}

/** The link changes flows after as much as it sends in this time, within bounds. */
const quantumMs = 0.1;
const quantumBytesMin = 1500;
const quantumBytesMax = 65_536;

export class LinkSchedule<Flow> {
  readonly #bytesPerMs: number;
  readonly #delayMs: number;
  readonly #quantumBytes: number;
  /** Flows that have something to send, the next one first. */
  readonly #sending: Queued<Flow>[] = [];
  readonly #byFlow = new Map<Flow, Queued<Flow>>();
  #inTransit: InTransit<Flow>[] = [];
  #freeAtMs = 0;

  constructor({ bitsPerSecond, delayMs }: LinkShape) {
    this.#bytesPerMs = bitsPerSecond / 8000;
    this.#delayMs = delayMs;
    const quantum = Math.round(this.#bytesPerMs * quantumMs);
    this.#quantumBytes = Math.min(Math.max(quantum, quantumBytesMin), quantumBytesMax);
  }

  /** Hands over what a flow has at `nowMs`; calls come in order of time. The bytes MUST NOT change until they arrived. */
  push(flow: Flow, load: Load, nowMs: number): void {
    this.#send(nowMs); // so that whatever is sent from now on was there when its turn came
    const queued = this.#byFlow.get(flow);
    if (queued !== undefined) {
      queued.loads.push(load);
      return;
    }
    const first = { flow, loads: [load] };
    this.#byFlow.set(flow, first);
    if (this.#sending.length === 0) this.#freeAtMs = Math.max(this.#freeAtMs, nowMs);
    this.#sending.push(first);
  }

  /** What has arrived by `nowMs`, in order. */
  take(nowMs: number): InTransit<Flow>[] {
    this.#send(nowMs);
    const arrived = this.#inTransit.findIndex(({ dueMs }) => dueMs > nowMs);
    if (arrived === 0) return [];
    if (arrived === -1) return this.#inTransit.splice(0);
    return this.#inTransit.splice(0, arrived);
  }

  /** Nothing arrives before; Infinity if nothing is on its way. */
  nextMs(): number {
    const [first] = this.#inTransit;
    if (first !== undefined) return first.dueMs;
    return this.#sending.length === 0 ? Infinity : this.#freeAtMs + this.#delayMs;
  }

  #send(nowMs: number): void {
    for (;;) {
      const [next] = this.#sending;
      if (next === undefined || this.#freeAtMs > nowMs) return;
      this.#sending.shift();
      const load = this.#nextQuantum(next);
      this.#freeAtMs += load === 'end' ? 0 : load.byteLength / this.#bytesPerMs;
      this.#inTransit.push({ flow: next.flow, load, dueMs: this.#freeAtMs + this.#delayMs });
      if (next.loads.length > 0) this.#sending.push(next);
      else this.#byFlow.delete(next.flow);
    }
  }

  #nextQuantum({ loads }: Queued<Flow>): Load {
    const load = loads[0] ?? 'end';
    if (load === 'end' || load.byteLength <= this.#quantumBytes) {
      loads.shift();
      return load;
    }
    loads[0] = load.subarray(this.#quantumBytes);
    return load.subarray(0, this.#quantumBytes);
  }
}
