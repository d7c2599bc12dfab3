/**
 * The filesystem of the mount: one directory with a file per image. Threads take the requests and answer what is in the
 * slab; the rest comes here, to the thread that owns all state, and every request that comes here is answered once.
 *
 * The INIT handshake is not here: the holder does it once per mount, so that an agent may come and go.
 */

import { Worker } from 'node:worker_threads';

import {
  errorCode,
  errorMessage,
  neighbourModule,
  toSafeNumber,
  viewOf,
  type Log,
} from '../../base/index.ts';
import type { SlabMemory } from '../../cache/index.ts';
import { reply, requestResend, type RequestHead } from './fuse-channel.ts';
import {
  DT_REG,
  Errno,
  FUSE_ROOT_ID,
  FuseAttr,
  FuseAttrOut,
  FuseDirent,
  FuseEntryOut,
  FuseInHeader,
  FuseOpcode,
  FuseOpenFlag,
  FuseOpenIn,
  FuseOpenOut,
  FuseReadIn,
  FuseStatfsOut,
  FuseWriteIn,
  FuseWriteOut,
  S_IFDIR,
  S_IFREG,
} from './fuse-protocol.ts';
import type { FuseWorkerData, MessageFromWorker, MessageToWorker } from './fuse-worker.ts';
import type { AnswerRead, ImageReader } from '../images/image-reader.ts';
import { nowUs } from '../starts/first-reads.ts';
import type { OpenImage, ServedImage } from '../images/served-image.ts';
import type { OpenPack } from '../starts/open-pack.ts';

export interface FuseServerOptions {
  readonly fuseFd: number;
  readonly slab: SlabMemory;
  readonly reader: ImageReader;
  /** Threads that take requests. More than 2 gained nothing (`fuse-from-node.md` of the project's references). */
  readonly workerCount: number;
  readonly log: Log;
}

/** Seconds for which the kernel need not ask again about a file. Its attributes never change. */
const attrValidS = 86_400n;
/**
 * Names are looked up anew every time: an image that was closed and opened again has another node, with no pages of the
 * one before.
 */
const entryValidS = 0n;

const accessModeMask = 3; // O_ACCMODE of fcntl.h; 0 is O_RDONLY
const blockSizeBytes = 4096;

function attributes(nodeId: number, image: ServedImage | undefined): Buffer {
  const sizeBytes = image?.shape.diskSizeBytes ?? 0;
  return FuseAttr.encode({
    ino: BigInt(nodeId),
    size: BigInt(sizeBytes),
    blocks: BigInt(Math.ceil(sizeBytes / 512)),
    atime: 0n,
    mtime: 0n,
    ctime: 0n,
    atimensec: 0,
    mtimensec: 0,
    ctimensec: 0,
    mode: image === undefined ? S_IFDIR | 0o500 : S_IFREG | (image.isWritable ? 0o600 : 0o400),
    nlink: image === undefined ? 2 : 1,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: blockSizeBytes,
    flags: 0,
  });
}

/** An answer: an errno, or 0 and what follows the header. */
interface Answer {
  readonly error: number;
  readonly parts: readonly Uint8Array[];
}

const done: Answer = { error: 0, parts: [] };
const refuse = (error: number): Answer => ({ error, parts: [] });
const give = (...parts: readonly Uint8Array[]): Answer => ({ error: 0, parts });

export class FuseServer {
  readonly #options: FuseServerOptions;
  readonly #images = new Map<number, ServedImage>();
  readonly #workers: Worker[] = [];

  constructor(options: FuseServerOptions) {
    this.#options = options;
  }

  /**
   * Starts the threads, after asking for what the agent before left unanswered. Resolves when the mount is gone and all
   * threads have ended.
   */
  async run(): Promise<void> {
    const { fuseFd, slab, workerCount } = this.#options;
    requestResend(fuseFd);
    const workerData: FuseWorkerData = { fuseFd, slab };
    const ends: Promise<void>[] = [];
    for (let index = 0; index < workerCount; index += 1) {
      const worker = new Worker(neighbourModule(import.meta.url, 'fuse-worker'), {
        workerData,
        name: `thaw-fuse-${index}`,
      });
      worker.on('message', (message: MessageFromWorker) => void this.#serve(message));
      ends.push(
        new Promise((resolve, reject) => {
          worker.once('error', reject);
          worker.once('exit', () => resolve());
        }),
      );
      this.#workers.push(worker);
    }
    await Promise.all(ends);
  }

  /** From now on the mount has a file for `image`. */
  add(image: ServedImage): void {
    this.#images.set(image.nodeId, image);
  }

  /** Lets the threads answer reads of `image` from the slab. */
  share(image: ServedImage, open: OpenImage): void {
    const { nodeId, shape } = image;
    const { entries } = open.table;
    const firstReads = open.firstReads.shared;
    this.#tellWorkers({ kind: 'open', image: { nodeId, ...shape, entries, firstReads } });
  }

  /** From now on the threads answer reads of `image` from its start pack, too; or no longer, if it is undefined. */
  sharePack(image: ServedImage, pack: OpenPack | undefined): void {
    const { nodeId } = image;
    const shared = pack && {
      map: pack.map,
      entries: pack.table.entries,
      firstReads: pack.firstReads.shared,
    };
    this.#tellWorkers({ kind: 'pack', nodeId, pack: shared });
  }

  /** The file is gone; who has it open still gets EIO. */
  remove(image: ServedImage): void {
    this.#images.delete(image.nodeId);
    this.#tellWorkers({ kind: 'close', nodeId: image.nodeId });
  }

  #tellWorkers(message: MessageToWorker): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    for (const worker of this.#workers) worker.postMessage(message);
  }

  async #serve({ head, read, takenAtUs = nowUs(), bytes }: MessageFromWorker): Promise<void> {
    const { fuseFd, reader, log } = this.#options;
    const image = this.#images.get(head.nodeId);
    try {
      if (read !== undefined && image !== undefined) {
        const answer: AnswerRead = (error, parts) => reply(fuseFd, head, error, parts);
        await reader.read(image, read, answer, (nowUs() - takenAtUs) / 1000);
        return;
      }
      const answer =
        bytes === undefined ? refuse(Errno.EIO) : await this.#answer(head, bytes, image);
      reply(fuseFd, head, answer.error, answer.parts);
    } catch (thrown) {
      log.error('request failed', { opcode: head.opcode, reason: errorMessage(thrown) });
      reply(fuseFd, head, Errno.EIO);
    }
  }

  async #answer(
    head: RequestHead,
    bytes: Uint8Array,
    image: ServedImage | undefined,
  ): Promise<Answer> {
    if (image === undefined && head.nodeId !== FUSE_ROOT_ID) return refuse(Errno.ESTALE);
    switch (head.opcode) {
      case FuseOpcode.FUSE_LOOKUP:
        return this.#lookup(bytes);
      case FuseOpcode.FUSE_GETATTR:
      case FuseOpcode.FUSE_SETATTR: {
        const validity = FuseAttrOut.encode({ attr_valid: attrValidS, attr_valid_nsec: 0 });
        return give(validity, attributes(head.nodeId, image));
      }
      case FuseOpcode.FUSE_OPEN:
        return open(bytes, image);
      case FuseOpcode.FUSE_OPENDIR:
        return give(FuseOpenOut.encode({ fh: 0n, open_flags: 0, backing_id: 0 }));
      case FuseOpcode.FUSE_READDIR:
        return this.#readDirectory(bytes);
      case FuseOpcode.FUSE_STATFS:
        return give(statfs());
      case FuseOpcode.FUSE_WRITE:
        return this.#write(bytes, image);
      case FuseOpcode.FUSE_FSYNC:
        await (await image?.open())?.overlay?.sync();
        return done;
      case FuseOpcode.FUSE_RELEASE:
      case FuseOpcode.FUSE_FLUSH:
      case FuseOpcode.FUSE_RELEASEDIR:
      case FuseOpcode.FUSE_FSYNCDIR:
      case FuseOpcode.FUSE_ACCESS:
      case FuseOpcode.FUSE_DESTROY:
        return done;
      default:
        return refuse(Errno.ENOSYS);
    }
  }

  #lookup(bytes: Uint8Array): Answer {
    const end = bytes.indexOf(0, FuseInHeader.sizeBytes);
    const name = viewOf(bytes).toString('latin1', FuseInHeader.sizeBytes, Math.max(end, 0));
    for (const image of this.#images.values()) {
      if (image.fileName !== name) continue;
      const entry = FuseEntryOut.encode({
        nodeid: BigInt(image.nodeId),
        generation: 0n,
        entry_valid: entryValidS,
        attr_valid: attrValidS,
        entry_valid_nsec: 0,
        attr_valid_nsec: 0,
      });
      return give(entry, attributes(image.nodeId, image));
    }
    return refuse(Errno.ENOENT);
  }

  async #write(bytes: Uint8Array, image: ServedImage | undefined): Promise<Answer> {
    if (image?.isWritable !== true) return refuse(Errno.EROFS);
    const { offset, size } = FuseWriteIn.decode(bytes, FuseInHeader.sizeBytes);
    const data = bytes.subarray(FuseInHeader.sizeBytes + FuseWriteIn.sizeBytes);
    const endsAt = toSafeNumber(offset, 'the offset of a write') + size;
    if (data.byteLength !== size) return refuse(Errno.EINVAL);
    if (endsAt > image.shape.diskSizeBytes) return refuse(Errno.ENOSPC);
    try {
      await this.#options.reader.write(image, Number(offset), data);
    } catch (thrown) {
      this.#options.log.warn('write failed', { reason: errorMessage(thrown) });
      return refuse(errorCode(thrown) === 'ENOSPC' ? Errno.ENOSPC : Errno.EIO);
    }
    return give(FuseWriteOut.encode({ size }));
  }

  #readDirectory(bytes: Uint8Array): Answer {
    const { offset, size } = FuseReadIn.decode(bytes, FuseInHeader.sizeBytes);
    const entries: Buffer[] = [];
    let room = size;
    for (const [position, image] of [...this.#images.values()].entries()) {
      if (position < offset) continue;
      const name = Buffer.from(image.fileName, 'latin1');
      const padded = Buffer.alloc(Math.ceil(name.byteLength / 8) * 8);
      name.copy(padded);
      room -= FuseDirent.sizeBytes + padded.byteLength;
      if (room < 0) break;
      const head = FuseDirent.encode({
        ino: BigInt(image.nodeId),
        off: BigInt(position + 1),
        namelen: name.byteLength,
        type: DT_REG,
      });
      entries.push(head, padded);
    }
    return give(...entries);
  }
}

function open(bytes: Uint8Array, image: ServedImage | undefined): Answer {
  const { flags } = FuseOpenIn.decode(bytes, FuseInHeader.sizeBytes);
  const isForReading = (flags & accessModeMask) === 0;
  if (!isForReading && image?.isWritable !== true) return refuse(Errno.EROFS);
  const open_flags = FuseOpenFlag.FOPEN_KEEP_CACHE | FuseOpenFlag.FOPEN_NOFLUSH;
  return give(FuseOpenOut.encode({ fh: 0n, open_flags, backing_id: 0 }));
}

function statfs(): Buffer {
  const none = 0n;
  return FuseStatfsOut.encode({
    blocks: none,
    bfree: none,
    bavail: none,
    files: none,
    ffree: none,
    bsize: blockSizeBytes,
    namelen: 255,
    frsize: blockSizeBytes,
  });
}
