/**
 * Archives as objects of the store. One that is large is several objects, its pieces: they are fetched side by side, and what the
 * first hold is unpacked while the last are on their way.
 *
 * Invariant: an archive whose first piece is there has all others, as the first is written last and deleted first.
 */

import { Semaphore, forEachLimited } from '../base/index.ts';
import { archiveObjectName, type ObjectStore } from '../store/index.ts';
import {
  checkPiece,
  piecesOf,
  readFrame,
  sealedBytesOf,
  sealedRange,
  type ByteRange,
  type SealedFrame,
} from './archive-seal.ts';
import type { ArchiveRef } from './code-archives.ts';
import { ArchiveMissingError } from './errors.ts';

/** Requests for one archive at a time. */
const requestsAtATime = 4;

/** Resolves when it is all there, durably. `sealed` stays the caller's. */
export async function storeArchive(
  store: ObjectStore,
  { rootId, archiveId }: Omit<ArchiveRef, 'tenant'>,
  { sealed, frame }: { readonly sealed: Uint8Array; readonly frame: SealedFrame },
): Promise<void> {
  const put = async ([number, { from, to }]: readonly [number, ByteRange]): Promise<void> => {
    const name = archiveObjectName(rootId, archiveId, number);
    await store.putIfAbsent(name, sealed.subarray(from, to));
  };
  const [first, ...others] = piecesOf(frame).entries();
  await forEachLimited(others, requestsAtATime, put);
  if (first !== undefined) await put(first);
}

/** No error where it is gone. */
export async function deleteArchive(
  store: ObjectStore,
  { rootId, archiveId }: Omit<ArchiveRef, 'tenant'>,
): Promise<void> {
  const first = archiveObjectName(rootId, archiveId);
  await store.delete(first);
  for await (const { name } of store.list(`${first}.`)) await store.delete(name);
}

/** An archive on its way. Dispose of it to give up what has not come yet. */
export interface FetchedArchive extends AsyncDisposable {
  readonly wrapped: Uint8Array;
  readonly frame: SealedFrame;
  /** All pieces, in memory that threads share; zeros where one has not come yet. The first has. */
  readonly sealed: Uint8Array;
  /**
   * When the segments that hold what was sealed in `range` have come. Throws `ERR_ARCHIVE_MISSING`, `ERR_ARCHIVE_CORRUPT`,
   * `ERR_STORE_*`.
   */
  readonly arrived: (range: ByteRange) => Promise<void>;
}

/** Resolves with the first piece. Throws as `arrived`. */
export async function fetchArchive(store: ObjectStore, of: ArchiveRef): Promise<FetchedArchive> {
  const given = new AbortController();
  const fetchPiece = async (number: number): Promise<Uint8Array> => {
    const name = archiveObjectName(of.rootId, of.archiveId, number);
    const bytes = await store.get(name, { signal: given.signal });
    if (bytes === undefined) throw new ArchiveMissingError(name);
    return bytes;
  };
  const first = await fetchPiece(0);
  const { wrapped, frame } = readFrame(of, first);
  const sealed = new Uint8Array(new SharedArrayBuffer(sealedBytesOf(frame)));
  sealed.set(first);
  const requests = new Semaphore(requestsAtATime);
  const pieces = piecesOf(frame).map((range, number) => {
    const coming = requests.run(async () => {
      if (number === 0) return;
      const piece = await fetchPiece(number);
      checkPiece(piece, range);
      sealed.set(piece, range.from);
    });
    coming.catch(() => {}); // who waits for it is told
    return { range, coming };
  });
  return {
    wrapped,
    frame,
    sealed,
    arrived: async (range) => {
      const { from, to } = sealedRange(frame, range);
      const needed = pieces.filter((piece) => piece.range.from < to && piece.range.to > from);
      await Promise.all(needed.map(({ coming }) => coming));
    },
    [Symbol.asyncDispose]: async () => {
      given.abort();
      await Promise.allSettled(pieces.map(({ coming }) => coming));
    },
  };
}
