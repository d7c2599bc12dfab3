/**
 * Which files of a mounted filesystem were opened, told by the kernel (fanotify), in whatever container or overlay that is done. Nothing holds
 * the mount: it can be unmounted meanwhile. Source: fanotify(7), include/uapi/linux/fanotify.h.
 */

import { close, readSync } from 'node:fs';

import { errorCode, layout } from '../../base/index.ts';
import { watchOpens } from '../system-calls.ts';

/** struct fanotify_event_metadata. */
const Event = layout('fanotify_event_metadata', 24, [
  [0, 'u32', 'event_len'],
  [4, 'u8', 'vers'],
  [5, 'u8', '_reserved'],
  [6, 'u16', 'metadata_len'],
  [8, 'u64', 'mask'],
  [16, 'i32', 'fd'],
  [20, 'i32', 'pid'], // of the thread: FAN_REPORT_TID
]);

/** struct fanotify_event_info_fid, and the handle of a file in it as ext4 has them (FILEID_INO32_GEN). */
const EventFid = layout('fanotify_event_info_fid', 28, [
  [0, 'u8', 'info_type'],
  [1, 'u8', '_pad'],
  [2, 'u16', 'len'],
  [4, 'u64', 'fsid'],
  [12, 'u32', 'handle_bytes'],
  [16, 'i32', 'handle_type'],
  [20, 'u32', 'inode'],
  [24, 'u32', 'generation'],
]);

const FAN_EVENT_INFO_TYPE_FID = 1;
const FILEID_INO32_GEN = 1;
const readSizeBytes = 64 * 1024;

/** The inodes in `events` that other threads than `ignored` have opened. */
function* inodesIn(events: Uint8Array, ignored: ReadonlySet<number>): Generator<number> {
  const wholeBytes = Event.sizeBytes + EventFid.sizeBytes;
  for (let at = 0; at + Event.sizeBytes <= events.byteLength;) {
    const { event_len: sizeBytes, pid } = Event.decode(events, at);
    if (sizeBytes < Event.sizeBytes) return;
    if (sizeBytes >= wholeBytes && !ignored.has(pid)) {
      const fid = EventFid.decode(events, at + Event.sizeBytes);
      const isInode =
        fid.info_type === FAN_EVENT_INFO_TYPE_FID && fid.handle_type === FILEID_INO32_GEN;
      if (isInode) yield fid.inode;
    }
    at += sizeBytes;
  }
}

/** Opened since it was made. The kernel remembers 16,384; what comes after these is lost. */
export class OpenedFiles {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Of the filesystem mounted at `mountPoint`; undefined if the kernel does not tell this process. */
  static watch(mountPoint: string): OpenedFiles | undefined {
    const fd = watchOpens(mountPoint);
    return fd === undefined ? undefined : new OpenedFiles(fd);
  }

  /** Each once, in the order in which they were opened first; not such as only the threads `ignored` (`threadId`) opened. What was told is not told again. */
  inodes(ignored: ReadonlySet<number>): readonly number[] {
    const seen = new Set<number>();
    const buffer = Buffer.alloc(readSizeBytes);
    for (;;) {
      const events = buffer.subarray(0, this.#read(buffer));
      if (events.byteLength === 0) return [...seen];
      for (const inode of inodesIn(events, ignored)) seen.add(inode);
    }
  }

  #read(buffer: Buffer): number {
    try {
      return readSync(this.#fd, buffer);
    } catch (thrown) {
      if (errorCode(thrown) === 'EAGAIN') return 0;
      throw thrown;
    }
  }

  /** Returns before it is done: the kernel takes 20 ms, until nobody anywhere may still be telling an event. */
  close(): void {
    close(this.#fd);
  }
}
