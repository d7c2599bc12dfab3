/** Named files of an image on this machine: a directory, or the members of a tar file read in place. */

import { stat } from 'node:fs/promises';
import { join, posix } from 'node:path';

import { byteString, byteStringToDisplay, errorCode } from '../base/index.ts';
import { OciLayoutError, OciNotFoundError, reasonOf } from './errors.ts';
import { FileRange } from './file-range.ts';
import type { TarEntry } from './tar-entry.ts';
import { scanTar } from './tar-scanner.ts';
import { detectCompression, readMagic, unpackBlob } from './unpack-layer.ts';

export interface ImageFiles extends AsyncDisposable {
  /** Where they are, for errors. */
  readonly path: string;
  /** A file by its path with `/`; undefined where there is none. The receiver disposes of it. */
  find(name: string): Promise<FileRange | undefined>;
}

function isMissing(thrown: unknown): boolean {
  const code = errorCode(thrown);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

export async function openDirectoryFiles(path: string): Promise<ImageFiles> {
  const isDirectory = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isDirectory) {
    throw new OciNotFoundError('an image', path, 'there is no such directory; check the path');
  }
  return {
    path,
    find: async (name) => {
      try {
        return await FileRange.openFile(join(path, name));
      } catch (thrown) {
        if (isMissing(thrown)) return undefined;
        throw new OciLayoutError(path, reasonOf(thrown), thrown);
      }
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

/** `docker save` de-duplicates layers by links between members; more hops than this are a loop. */
const linkHopsMax = 16;

/** The path of a member without `./`, `//` and a trailing slash. One that leaves the archive names no member. */
function memberPath(path: string): string {
  return posix.normalize(path).replace(/^\/+|\/+$/g, '');
}

/** A regular member's bytes lie in one run, as a sparse file's would not. */
function memberRange(archive: FileRange, entry: TarEntry): FileRange {
  const [segment] = entry.segments;
  if (entry.sizeBytes === 0) return archive.slice(0, 0);
  if (segment === undefined || segment.lengthBytes !== entry.sizeBytes) {
    const name = byteStringToDisplay(entry.path);
    throw new OciLayoutError(archive.path, `its member "${name}" is a sparse file`);
  }
  return archive.slice(segment.tarOffset, segment.lengthBytes);
}

class ArchiveFiles implements ImageFiles {
  readonly path: string;
  readonly #archive: FileRange;
  readonly #members: ReadonlyMap<string, TarEntry>;

  constructor(path: string, archive: FileRange, members: ReadonlyMap<string, TarEntry>) {
    this.path = path;
    this.#archive = archive;
    this.#members = members;
  }

  async find(name: string): Promise<FileRange | undefined> {
    let path = memberPath(byteString(name));
    for (let hops = 0; hops < linkHopsMax; hops += 1) {
      const entry = this.#members.get(path);
      if (entry?.type === 'file') return memberRange(this.#archive, entry);
      if (entry?.type === 'hardlink') path = memberPath(entry.linkTarget);
      else if (entry?.type !== 'symlink') return undefined;
      else path = memberPath(posix.join(posix.dirname(path), entry.linkTarget));
    }
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#archive[Symbol.asyncDispose]();
  }
}

export interface ArchiveOptions {
  readonly workDir: string;
  readonly tarBytesMax: number;
  readonly signal: AbortSignal | undefined;
}

async function openPlainArchive(path: string, options: ArchiveOptions): Promise<FileRange> {
  const file = await FileRange.openFile(path).catch((thrown: unknown) => {
    if (isMissing(thrown)) {
      throw new OciNotFoundError('an image', path, 'there is no such file; check the path');
    }
    throw new OciLayoutError(path, reasonOf(thrown), thrown);
  });
  if (file === undefined) throw new OciLayoutError(path, 'it is not a regular file');
  if (detectCompression(await readMagic(file)) === 'none') return file;
  return await unpackBlob(
    { kind: 'range', range: file },
    {
      what: `archive "${path}"`,
      blob: { digest: undefined, sizeBytes: file.sizeBytes },
      diffId: undefined,
      onBytes: () => {},
      ...options,
    },
  );
}

/**
 * Opens a tar file by its table of members; they are read in place. One compressed as a whole is decompressed to
 * a temporary file first. Of members with one name the last counts, as for any unpacker.
 */
export async function openArchiveFiles(path: string, options: ArchiveOptions): Promise<ImageFiles> {
  const archive = await openPlainArchive(path, options);
  try {
    const members = new Map<string, TarEntry>();
    for await (const entry of scanTar(archive)) {
      options.signal?.throwIfAborted();
      members.set(memberPath(entry.path), entry);
    }
    return new ArchiveFiles(path, archive, members);
  } catch (thrown) {
    await archive[Symbol.asyncDispose]();
    throw thrown;
  }
}
