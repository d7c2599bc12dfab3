/**
 * What a manifest says of its image, sealed with the chunk keys: where it came from and how to run it.
 * JSON in UTF-8, so that it can gain fields; readers ignore fields they do not know.
 */

import { ThawError, errorMessage } from '../base/index.ts';
import type { ImageConfig } from '../oci/index.ts';
import type { LeftOutXattrs } from '../rootfs/index.ts';

/** An image's identity and how to run it. */
export interface ImageDocument {
  readonly reference: string;
  /** `sha256:…`, see `OciImage.imageDigest`. */
  readonly imageDigest: string;
  /** `os/architecture[/variant]`. */
  readonly platform: string;
  readonly config: ImageConfig;
  readonly fileCount: number;
  /** Sum of the sizes of the image's regular files. */
  readonly contentBytes: number;
  /** Extended attributes of the layers that the disk has not. Not there in documents of before they were counted. */
  readonly leftOutXattrs?: LeftOutXattrs;
}

/** Authentic bytes that are no document: written by another version, or by a bug. */
export class ImageDocumentError extends ThawError {
  constructor(cause: unknown) {
    super({
      code: 'ERR_PUBLISH_IMAGE_DOCUMENT',
      fault: 'data',
      message: `Cannot read the image document of a manifest: ${errorMessage(cause)}; publish the image again`,
      cause,
    });
  }
}

/** For `Manifest.imageDocument`; a fresh array. */
export function encodeImageDocument(document: ImageDocument): Uint8Array {
  return Buffer.from(JSON.stringify(document), 'utf8');
}

/** Throws `ERR_PUBLISH_IMAGE_DOCUMENT`. The bytes were authenticated by the manifest's seal. */
export function decodeImageDocument(bytes: Uint8Array): ImageDocument {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8')) as ImageDocument;
  } catch (thrown) {
    throw new ImageDocumentError(thrown);
  }
}
