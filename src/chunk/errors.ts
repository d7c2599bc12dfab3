/** What can be wrong with sealed chunks and with manifests. */

import { ThawError } from '../base/index.ts';

/** Bytes that are not the ciphertext which a manifest names; another tier's copy may be. */
export class ChunkCorruptError extends ThawError {
  constructor(expectedDigestHex: string, found: string) {
    super({
      code: 'ERR_CHUNK_CORRUPT',
      fault: 'data',
      message: `Cannot open chunk "${expectedDigestHex}": ${found}; drop this copy and fetch another`,
    });
  }
}

/** Bytes that are the ciphertext which a manifest names, and no chunk of the codec and length that it lists. */
export class ChunkUnreadableError extends ThawError {
  constructor(digestHex: string, found: string) {
    super({
      code: 'ERR_CHUNK_UNREADABLE',
      fault: 'data',
      message: `Cannot open chunk "${digestHex}": its bytes are what was published, but ${found}; publish the image again`,
    });
  }
}

/** A thread of a pool ended; its chunks were neither sealed nor opened. */
export class ChunkWorkerLostError extends ThawError {
  constructor(how: string, cause?: unknown) {
    super({
      code: 'ERR_CHUNK_WORKER_LOST',
      fault: 'environment',
      message: `Cannot seal or open a chunk: its thread ${how}; do it again`,
      retryable: true,
      cause,
    });
  }
}

export class ChunkPoolClosedError extends ThawError {
  constructor() {
    super({
      code: 'ERR_CHUNK_POOL_CLOSED',
      fault: 'bug',
      message: 'Cannot seal a chunk: the pool of sealing threads is closed',
    });
  }
}

/** The bytes do not start like a manifest. */
export class ManifestUnrecognizedError extends ThawError {
  constructor() {
    super({
      code: 'ERR_CHUNK_MANIFEST_UNRECOGNIZED',
      fault: 'data',
      message:
        'Cannot read a manifest: the bytes do not start with its magic; publish the image again',
    });
  }
}

export class ManifestVersionError extends ThawError {
  constructor(found: number, supported: number) {
    super({
      code: 'ERR_CHUNK_MANIFEST_VERSION',
      fault: 'data',
      message: `Cannot read a manifest of format version ${found}: this Thaw reads version ${supported}; use a newer Thaw or publish the image again`,
    });
  }
}

/** Cut short, or with bytes after its end. */
export class ManifestSizeError extends ThawError {
  constructor(sizeBytes: number, expectedSizeBytes: number) {
    const how = sizeBytes < expectedSizeBytes ? 'truncated' : 'followed by other bytes';
    super({
      code: 'ERR_CHUNK_MANIFEST_SIZE',
      fault: 'data',
      message: `Cannot read a manifest: it is ${how}, ${sizeBytes} bytes where its header asks for ${expectedSizeBytes}; fetch it again`,
    });
  }
}

/** A field breaks a rule of the format. */
export class ManifestMalformedError extends ThawError {
  constructor(complaint: string) {
    super({
      code: 'ERR_CHUNK_MANIFEST_MALFORMED',
      fault: 'data',
      message: `Cannot read a manifest: ${complaint}; publish the image again`,
    });
  }
}

/** A byte was changed since the manifest was sealed, or the data key is another manifest's. */
export class ManifestSealError extends ThawError {
  constructor() {
    super({
      code: 'ERR_CHUNK_MANIFEST_SEAL',
      fault: 'data',
      message: 'Cannot open a manifest: its seal does not hold, so it was changed; fetch it again',
    });
  }
}

export class ManifestIdError extends ThawError {
  constructor(expectedId: string, foundId: string) {
    super({
      code: 'ERR_CHUNK_MANIFEST_ID',
      fault: 'data',
      message: `Cannot open manifest "${expectedId}": its bytes hash to "${foundId}"; fetch it again`,
    });
  }
}

/** What a publisher asks to be sealed does not fit the format. */
export class ManifestUnencodableError extends ThawError {
  constructor(complaint: string) {
    super({
      code: 'ERR_CHUNK_MANIFEST_UNENCODABLE',
      fault: 'caller',
      message: `Cannot write a manifest: ${complaint}`,
    });
  }
}
