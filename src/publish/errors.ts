/** What can go wrong with a published image, beyond what the rooms below raise themselves. */

import {
  byteStringToPrintable,
  errorCode,
  errorMessage,
  ThawError,
  type ByteString,
} from '../base/index.ts';

/** A record names a manifest that the store does not have. */
export class ManifestMissingError extends ThawError {
  constructor(manifestId: string, rootId: string) {
    super({
      code: 'ERR_PUBLISH_MANIFEST_MISSING',
      fault: 'data',
      message: `Cannot open image "${manifestId}": the store has no such manifest in root "${rootId}"; publish the image again`,
    });
  }
}

/** A manifest names a chunk that the store does not have. */
export class ChunkMissingError extends ThawError {
  constructor(name: string, diskOffset: number) {
    super({
      code: 'ERR_PUBLISH_CHUNK_MISSING',
      fault: 'data',
      message: `Cannot read the image at byte ${diskOffset}: the store has no object "${name}"; remove the image and publish it again`,
    });
  }
}

/** More content than `contentMaxBytes`. */
export class ImageTooLargeError extends ThawError {
  constructor(reference: string, contentBytes: number, limitBytes: number) {
    super({
      code: 'ERR_PUBLISH_IMAGE_TOO_LARGE',
      fault: 'caller',
      message: `Cannot publish "${reference}": its files have ${contentBytes} bytes, the limit is ${limitBytes}; make the image smaller`,
    });
  }
}

/** Exports overwrite nothing. */
export class ExportTargetExistsError extends ThawError {
  constructor(path: string) {
    super({
      code: 'ERR_PUBLISH_EXPORT_EXISTS',
      fault: 'caller',
      message: `Cannot export to "${path}": the file exists; name another or remove it`,
    });
  }
}

/** The file cannot be made or written where it was asked for. */
export class ExportTargetError extends ThawError {
  constructor(path: string, cause: unknown) {
    const isFull = ['ENOSPC', 'EDQUOT', 'EFBIG'].includes(errorCode(cause) ?? '');
    super({
      code: isFull ? 'ERR_PUBLISH_EXPORT_FULL' : 'ERR_PUBLISH_EXPORT_TARGET',
      fault: isFull ? 'environment' : 'caller',
      message: `Cannot export to "${path}": ${errorMessage(cause)}; name a file that can be written`,
      cause,
    });
  }
}

/** A path of an image, as errors show it. */
function shown(path: ByteString): string {
  return `"/${byteStringToPrintable(path).replace(/^\/+/, '')}"`;
}

/** Nothing is at a path of an image. */
export class ImageFileMissingError extends ThawError {
  constructor(path: ByteString) {
    super({
      code: 'ERR_PUBLISH_FILE_MISSING',
      fault: 'caller',
      message: `Cannot find ${shown(path)} in the image: "thaw image files" lists what is there`,
    });
  }
}

/** A path leads through something that holds no files. */
export class NotADirectoryInImageError extends ThawError {
  constructor(path: ByteString, at: ByteString) {
    super({
      code: 'ERR_PUBLISH_NOT_A_DIRECTORY',
      fault: 'caller',
      message: `Cannot find ${shown(path)} in the image: ${shown(at)} is no directory`,
    });
  }
}

/** Symlinks that lead to each other. */
export class ImageLinkLoopError extends ThawError {
  constructor(path: ByteString) {
    super({
      code: 'ERR_PUBLISH_LINK_LOOP',
      fault: 'caller',
      message: `Cannot find ${shown(path)} in the image: too many symbolic links on the way`,
    });
  }
}

/** Only regular files have bytes to be read. */
export class NotAFileInImageError extends ThawError {
  constructor(path: ByteString, type: string) {
    super({
      code: 'ERR_PUBLISH_NOT_A_FILE',
      fault: 'caller',
      message: `Cannot read ${shown(path)} in the image: it is a ${type.replace('-', ' ')}, no file`,
    });
  }
}
