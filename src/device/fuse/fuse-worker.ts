/**
 * A thread that takes requests from /dev/fuse. It answers a READ whose chunks are all in the slab, in place, without a
 * copy; everything else it hands to the main thread, which owns all state. It ends when the filesystem is unmounted.
 *
 * It blocks in `read`, so messages to it are taken between requests: the main thread posts them before it does
 * anything that could make the kernel ask about what they say.
 */

import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';

import { present } from '../../base/index.ts';
import { SlabView, type SlabMemory } from '../../cache/index.ts';
import {
  RequestBuffer,
  readRequest,
  reply,
  type ReadRequest,
  type RequestHead,
} from './fuse-channel.ts';
import { noteRead, nowUs, type FirstReadTimes } from '../starts/first-reads.ts';
import { FuseOpcode } from './fuse-protocol.ts';
import { spansOf, zeros, type ReadSpan } from '../images/read-spans.ts';
import { packedSpans, type PackMap } from '../starts/start-pack.ts';

export interface FuseWorkerData {
  readonly fuseFd: number;
  readonly slab: SlabMemory;
}

/** What a worker needs to serve reads of one image; `entries` is the image's slab table. */
export interface WorkerImage {
  readonly nodeId: number;
  readonly diskSizeBytes: number;
  readonly chunkSizeBytes: number;
  readonly entries: Int32Array;
  /** Where to note what is read. */
  readonly firstReads: FirstReadTimes;
}

/** The start pack of an image under way, and its slab table. */
export interface WorkerPack {
  readonly map: PackMap;
  readonly entries: Int32Array;
  readonly firstReads: FirstReadTimes;
}

export type MessageToWorker =
  | { readonly kind: 'open'; readonly image: WorkerImage }
  /** Undefined: it has none any more. */
  | { readonly kind: 'pack'; readonly nodeId: number; readonly pack: WorkerPack | undefined }
  | { readonly kind: 'close'; readonly nodeId: number };

/** A request for the main thread. A READ comes parsed, others as bytes, header included. */
export interface MessageFromWorker {
  readonly head: RequestHead;
  readonly read?: ReadRequest;
  /** Of a READ: when the thread took it, on the clock of all threads. */
  readonly takenAtUs?: number;
  readonly bytes?: Uint8Array;
}

class FuseWorker {
  readonly #fuseFd: number;
  readonly #view: SlabView;
  readonly #images = new Map<number, WorkerImage>();
  readonly #packs = new Map<number, WorkerPack>();
  readonly #buffer = new RequestBuffer();

  constructor({ fuseFd, slab }: FuseWorkerData) {
    this.#fuseFd = fuseFd;
    this.#view = new SlabView(slab);
  }

  run(port: NonNullable<typeof parentPort>): void {
    for (;;) {
      const lengthBytes = readRequest(this.#fuseFd, this.#buffer);
      if (lengthBytes === undefined) return;
      this.#takeMessages(port);
      const head = this.#buffer.head(lengthBytes);
      if (head === undefined || wantsNoAnswer(head.opcode)) continue;
      const read = head.opcode === FuseOpcode.FUSE_READ ? this.#buffer.read(head) : undefined;
      if (read !== undefined && this.#answerFromSlab(head, read)) continue;
      this.#handOn(port, head, read);
    }
  }

  #handOn(
    port: NonNullable<typeof parentPort>,
    head: RequestHead,
    read: ReadRequest | undefined,
  ): void {
    if (read !== undefined) {
      port.postMessage({ head, read, takenAtUs: nowUs() } satisfies MessageFromWorker);
      return;
    }
    const bytes = this.#buffer.bytes.slice(0, head.lengthBytes);
    port.postMessage({ head, bytes } satisfies MessageFromWorker, [bytes.buffer]);
  }

  #takeMessages(port: NonNullable<typeof parentPort>): void {
    for (;;) {
      const received = receiveMessageOnPort(port);
      if (received === undefined) return;
      this.#take(received.message as MessageToWorker);
    }
  }

  #take(message: MessageToWorker): void {
    if (message.kind === 'open') {
      this.#images.set(message.image.nodeId, message.image);
      return;
    }
    this.#packs.delete(message.nodeId);
    if (message.kind === 'close') this.#images.delete(message.nodeId);
    else if (message.pack !== undefined) this.#packs.set(message.nodeId, message.pack);
  }

  /** False if a chunk of the read is not in the slab: then nothing was answered. */
  #answerFromSlab(head: RequestHead, read: ReadRequest): boolean {
    const image = this.#images.get(head.nodeId);
    if (image === undefined) return false;
    const pinned: number[] = [];
    const parts: Uint8Array[] = [];
    try {
      for (const span of spansOf(image, read)) {
        const found = this.#find(image, span, pinned) ?? this.#findPacked(image, span, pinned);
        if (found === undefined) return false;
        parts.push(...found);
      }
      reply(this.#fuseFd, head, 0, parts);
      this.#view.countHits(pinned.length);
      return true;
    } finally {
      for (const slot of pinned) this.#view.unpin(slot);
    }
  }

  /** The part's bytes in the slab, pinned. */
  #find(
    { entries, firstReads }: Pick<WorkerImage, 'entries' | 'firstReads'>,
    { index, start, end }: ReadSpan,
    pinned: number[],
  ): readonly Uint8Array[] | undefined {
    const slot = this.#view.pin(entries, index);
    if (slot === undefined) return undefined;
    if (slot === 'zero') return [zeros.subarray(0, end - start)];
    pinned.push(slot);
    noteRead(firstReads, index, start, end);
    return [this.#view.bytes(slot, start, end)];
  }

  /** The same from the image's start pack. */
  #findPacked(
    image: WorkerImage,
    { index, start, end }: ReadSpan,
    pinned: number[],
  ): readonly Uint8Array[] | undefined {
    const pack = this.#packs.get(image.nodeId);
    if (pack === undefined) return undefined;
    const chunkStart = index * image.chunkSizeBytes;
    const spans = packedSpans(pack.map, chunkStart + start, chunkStart + end);
    if (spans === undefined) return undefined;
    const parts: Uint8Array[] = [];
    for (const span of spans) {
      const found = this.#find(pack, span, pinned);
      if (found === undefined) return undefined;
      parts.push(...found);
    }
    noteRead(image.firstReads, index, start, end);
    return parts;
  }
}

function wantsNoAnswer(opcode: number): boolean {
  return (
    opcode === FuseOpcode.FUSE_FORGET ||
    opcode === FuseOpcode.FUSE_BATCH_FORGET ||
    opcode === FuseOpcode.FUSE_INTERRUPT
  );
}

new FuseWorker(workerData as FuseWorkerData).run(present(parentPort, "the worker's port"));
