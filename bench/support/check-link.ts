/**
 * A shaped link held against arithmetic: what goes through it must take as long as its bandwidth and delay say. Whatever is
 * concluded from measurements over a link depends on this.
 */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Worker } from 'node:worker_threads';

import type { Table } from '../harness.ts';
import { ShapedLink, type LinkShape, type TargetFault } from './shaped-link.ts';

const chunkBytes = 512 * 1024;
const connections = 5;
const slowMs = 100;

interface Work {
  readonly what: string;
  readonly expectedMs: number;
  readonly times: number;
  readonly fault?: TargetFault;
  readonly run: () => Promise<unknown>;
}

class Caller {
  readonly #socket: Socket;
  #wantedBytes = 0;
  #arrived: (() => void) | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.#wantedBytes -= bytes.byteLength;
      if (this.#wantedBytes <= 0) this.#arrived?.();
    });
  }

  static async to(port: number): Promise<Caller> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return new Caller(socket);
  }

  async ask(answerBytes: number): Promise<void> {
    const request = Buffer.alloc(4);
    request.writeUInt32LE(answerBytes);
    this.#wantedBytes = answerBytes;
    await new Promise<void>((resolve) => {
      this.#arrived = resolve;
      this.#socket.write(request);
    });
  }

  end(): void {
    this.#socket.destroy();
  }
}

async function medianMs(times: number, work: () => Promise<unknown>): Promise<number> {
  const taken: number[] = [];
  for (let time = 0; time <= times; time += 1) {
    const startedMs = performance.now();
    await work();
    if (time > 0) taken.push(performance.now() - startedMs); // the first opens windows
  }
  return taken.toSorted((a, b) => a - b)[Math.floor(taken.length / 2)] ?? NaN;
}

/** What is sent, and how long that takes by arithmetic. */
function worksOver(shape: LinkShape, callers: readonly Caller[]): Work[] {
  const roundTripMs = 2 * shape.delayMs;
  const sendMs = (bytes: number): number => (bytes * 8) / (shape.bitsPerSecond / 1000);
  const bulkBytes = Math.ceil(shape.bitsPerSecond / 8 / 10 / connections);
  const one = (bytes: number) => ({
    expectedMs: roundTripMs + sendMs(bytes),
    run: async () => await callers[0]?.ask(bytes),
  });
  const all = (bytes: number) => ({
    expectedMs: roundTripMs + sendMs(bytes * callers.length),
    run: () => Promise.all(callers.map((caller) => caller.ask(bytes))),
  });
  return [
    { what: 'one byte, there and back', times: 200, ...one(1) },
    { what: '512 KiB', times: 100, ...one(chunkBytes) },
    { what: '5 x 128 KiB over five connections', times: 100, ...all(chunkBytes / 4) },
    { what: 'a tenth of a second of bytes over five connections', times: 9, ...all(bulkBytes) },
    {
      what: `one byte, from a server that is ${slowMs} ms late`,
      times: 9,
      fault: { kind: 'slow', extraDelayMs: slowMs },
      ...one(1),
      expectedMs: roundTripMs + slowMs,
    },
  ];
}

async function measure(name: string, shape: LinkShape, port: number): Promise<string[][]> {
  await using link = await ShapedLink.open(shape, [{ name: 'answering', port }]);
  const callers: Caller[] = [];
  for (let at = 0; at < connections; at += 1) {
    callers.push(await Caller.to(link.portOf('answering')));
  }
  const rows: string[][] = [];
  for (const { what, expectedMs, times, fault, run } of worksOver(shape, callers)) {
    if (fault !== undefined) await link.fault('answering', fault);
    const tookMs = await medianMs(times, run);
    const { p50Ms, p99Ms } = await link.lateness();
    const off = `${((tookMs / expectedMs - 1) * 100).toFixed(1)} %`;
    const times2 = [expectedMs, tookMs].map((ms) => ms.toFixed(2));
    const late = [p50Ms, p99Ms].map((ms) => ms.toFixed(2));
    rows.push([name, what, ...times2, off, ...late]);
  }
  for (const caller of callers) caller.end();
  return rows;
}

/** Measures every link by itself. */
export async function checkLinks(shapes: Readonly<Record<string, LinkShape>>): Promise<Table> {
  const server = new Worker(new URL('./answering-server.ts', import.meta.url));
  const [port] = (await once(server, 'message')) as [number];
  const rows: string[][] = [];
  for (const [name, shape] of Object.entries(shapes)) {
    rows.push(...(await measure(name, shape, port)));
  }
  await server.terminate();
  return {
    title: 'The link against arithmetic: medians, and how late the link itself was',
    columns: ['link', 'sent', 'ms expected', 'ms', 'off', 'link late p50', 'p99'],
    rows,
  };
}
