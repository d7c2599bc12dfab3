/** The process of a shaped link: takes bytes off sockets, asks the schedules when they arrive, and puts them on others. */

import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { constants, setPriority } from 'node:os';

import { LatencyHistogram, present, type LatencySnapshot } from '../../src/base/index.ts';
import { LinkSchedule, type LinkShape, type Load } from './link-schedule.ts';
import { BufferPool } from './buffer-pool.ts';
import { PreciseTimer } from './precise-timer.ts';
import type {
  LinkBeginning,
  LinkCommand,
  LinkPorts,
  LinkTarget,
  TargetFault,
} from './shaped-link.ts';

/** More than any of our links holds in flight: 10 Gbit/s for 2 ms are 2.5 MB. */
const windowBytes = 16 * 2 ** 20;
/** What is due so soon is not worth a timer. */
const timerSlackMs = 0.03;

/** One direction of one connection. */
interface Flow {
  readonly target: Target;
  readonly from: Socket;
  readonly to: Socket;
  readonly direction: LinkSchedule<Flow>;
  /** Taken from `from` and not yet taken by `to`. */
  heldBytes: number;
}

interface Late {
  readonly flow: Flow;
  readonly load: Load;
  readonly dueMs: number;
}

class Target {
  readonly server: Server;
  readonly sockets = new Set<Socket>();
  /** What a slow or stopped target has sent and the link has not got yet. */
  late: Late[] = [];
  #fault: TargetFault = { kind: 'none' };

  constructor({ port }: LinkTarget, link: Link) {
    this.server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
      if (this.#fault.kind === 'killed') {
        client.resetAndDestroy();
        return;
      }
      link.join(this, client, port);
    });
  }

  get fault(): TargetFault {
    return this.#fault;
  }

  set fault(fault: TargetFault) {
    this.#fault = fault;
    const nowMs = performance.now();
    if (fault.kind === 'killed') for (const socket of this.sockets) socket.resetAndDestroy();
    if (fault.kind === 'none') this.late = this.late.map((one) => ({ ...one, dueMs: nowMs }));
  }

  /** When what it sends now starts on its way. */
  startMs(nowMs: number): number {
    if (this.#fault.kind === 'stopped') return Infinity;
    return nowMs + (this.#fault.kind === 'slow' ? this.#fault.extraDelayMs : 0);
  }
}

class Link {
  readonly #targets = new Map<string, Target>();
  #up: LinkSchedule<Flow>;
  #down: LinkSchedule<Flow>;
  readonly #pool = new BufferPool();
  #lateness = new LatencyHistogram();
  #isTurning = false;
  readonly #timer = new PreciseTimer(() => this.#turn());

  constructor(shape: LinkShape) {
    this.#up = new LinkSchedule(shape);
    this.#down = new LinkSchedule(shape);
  }

  async listen(targets: readonly LinkTarget[]): Promise<LinkPorts> {
    const ports: Record<string, number> = {};
    for (const of of targets) {
      const target = new Target(of, this);
      this.#targets.set(of.name, target);
      target.server.listen(0, '127.0.0.1');
      await once(target.server, 'listening');
      ports[of.name] = (target.server.address() as AddressInfo).port;
    }
    return ports;
  }

  /** What servers answer is most of what comes, so it is read in large pieces into memory that is used again. */
  join(target: Target, client: Socket, port: number): void {
    const server: Socket = connect({
      port,
      host: '127.0.0.1',
      noDelay: true,
      allowHalfOpen: true,
      onread: {
        buffer: () => this.#pool.take(),
        callback: (sizeBytes, buffer) => {
          this.#take(down, this.#pool.filled(buffer as Buffer<ArrayBuffer>, sizeBytes));
          return !server.isPaused();
        },
      },
    });
    const up: Flow = { target, from: client, to: server, direction: this.#up, heldBytes: 0 };
    const down: Flow = { target, from: server, to: client, direction: this.#down, heldBytes: 0 };
    client.on('data', (bytes: Buffer) => this.#take(up, bytes));
    for (const flow of [up, down]) this.#follow(flow);
  }

  #follow(flow: Flow): void {
    const { target, from, to } = flow;
    target.sockets.add(from);
    from.on('end', () => this.#take(flow, 'end'));
    from.on('error', () => to.resetAndDestroy());
    from.on('close', () => {
      target.sockets.delete(from);
      if (!from.readableEnded) to.destroy();
    });
  }

  obey(command: LinkCommand): LatencySnapshot | number | undefined {
    if (command.do === 'processor time') {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    }
    if (command.do === 'lateness') {
      const snapshot = this.#lateness.snapshot();
      this.#lateness = new LatencyHistogram();
      return snapshot;
    }
    if (command.do === 'shape') {
      this.#up = new LinkSchedule(command.shape);
      this.#down = new LinkSchedule(command.shape);
      // Connections hold on to their schedules; they are made anew.
      for (const { sockets } of this.#targets.values()) {
        for (const socket of sockets) socket.resetAndDestroy();
      }
    } else {
      present(this.#targets.get(command.name), `target "${command.name}"`).fault = command.fault;
    }
    this.#turn();
    return undefined;
  }

  #take(flow: Flow, load: Load): void {
    const { target, from, direction } = flow;
    if (load !== 'end') flow.heldBytes += load.byteLength;
    if (flow.heldBytes > windowBytes) from.pause();
    const nowMs = performance.now();
    const isAnswer = direction === this.#down;
    const startMs = isAnswer || target.fault.kind === 'stopped' ? target.startMs(nowMs) : nowMs;
    if (startMs === nowMs && target.late.length === 0) direction.push(flow, load, nowMs);
    else target.late.push({ flow, load, dueMs: startMs });
    if (!this.#isTurning) this.#wait();
  }

  /** Moves on whatever is due. */
  #turn(): void {
    this.#isTurning = false;
    const nowMs = performance.now();
    for (const target of this.#targets.values()) {
      while ((target.late[0]?.dueMs ?? Infinity) <= nowMs) {
        const { flow, load } = present(target.late.shift(), 'what is late');
        flow.direction.push(flow, load, nowMs);
      }
    }
    const corked = new Set<Socket>();
    for (const direction of [this.#up, this.#down]) {
      for (const { flow, load, dueMs } of direction.take(nowMs)) {
        this.#lateness.record(nowMs - dueMs);
        if (!corked.has(flow.to)) flow.to.cork();
        corked.add(flow.to);
        this.#put(flow, load);
      }
    }
    for (const socket of corked) socket.uncork();
    this.#wait();
  }

  #put(flow: Flow, load: Load): void {
    const { from, to } = flow;
    if (load === 'end') {
      to.end();
      return;
    }
    to.write(load, () => {
      this.#pool.done(load);
      flow.heldBytes -= load.byteLength;
      if (flow.heldBytes < windowBytes / 2 && from.isPaused()) from.resume();
    });
  }

  #wait(): void {
    const lateMs = [...this.#targets.values()].map(({ late }) => late[0]?.dueMs ?? Infinity);
    const nextMs = Math.min(this.#up.nextMs(), this.#down.nextMs(), ...lateMs);
    if (nextMs === Infinity) return;
    const waitMs = nextMs - performance.now();
    if (waitMs > timerSlackMs) {
      this.#timer.set(waitMs);
      return;
    }
    this.#isTurning = true;
    setImmediate(() => this.#turn());
  }
}

/** A wire waits for no processor. Without privilege it stays as it is. */
function comeFirst(): void {
  try {
    setPriority(constants.priority.PRIORITY_HIGHEST);
  } catch {
    // What that costs shows where the link is held against itself.
  }
}

function tell(message: LinkPorts | LatencySnapshot | number | undefined): void {
  process.send?.(message ?? null);
}

comeFirst();
// It ends when who began it is done, whatever signal the terminal sends to both.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
const [beginning] = (await once(process, 'message')) as [LinkBeginning];
const link = new Link(beginning.shape);
process.on('message', (command: LinkCommand) => tell(link.obey(command)));
tell(await link.listen(beginning.targets));
