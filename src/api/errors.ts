import { ThawError } from '../base/index.ts';

/** An id or name that names none of the tenant's images. */
export class ImageNotFoundError extends ThawError {
  constructor(tenant: string, id: string) {
    super({
      code: 'ERR_API_IMAGE_NOT_FOUND',
      fault: 'caller',
      message: `Cannot find image "${id}" of tenant "${tenant}": "thaw image ls" lists those there are`,
    });
  }
}

export class NoSuchKeyError extends ThawError {
  constructor(tenant: string, accessKeyId: string) {
    super({
      code: 'ERR_API_NO_SUCH_KEY',
      fault: 'caller',
      message: `Cannot remove access key ${JSON.stringify(accessKeyId.slice(0, 100))}: tenant "${tenant}" has none of that id; "thaw tenant key ls" lists those it has`,
    });
  }
}

/** A name that no tenant or image can have. */
export class BadNameError extends ThawError {
  constructor(what: 'tenant' | 'image', name: string, rule: string) {
    super({
      code: 'ERR_API_BAD_NAME',
      fault: 'caller',
      message: `Cannot use ${JSON.stringify(name.slice(0, 100))} as the name of ${what === 'image' ? 'an image' : 'a tenant'}: ${rule}`,
    });
  }
}

/** A compression that Thaw does not know. */
export class BadCompressionError extends ThawError {
  constructor(name: string) {
    super({
      code: 'ERR_API_BAD_COMPRESSION',
      fault: 'caller',
      message: `Cannot compress with ${JSON.stringify(name)}: "zstd" is the only choice`,
    });
  }
}

/** Nothing to prime. */
export class NoZoneError extends ThawError {
  constructor() {
    super({
      code: 'ERR_API_NO_ZONE',
      fault: 'caller',
      message:
        'Cannot prime the zone: there is none; set "zone.servers" in the configuration, or publish without priming',
    });
  }
}

/** A place to mount on that is no directory. */
export class BadDirectoryError extends ThawError {
  constructor(path: string, problem: string) {
    super({
      code: 'ERR_API_BAD_DIRECTORY',
      fault: 'caller',
      message: `Cannot use "${path}" as a mount point: ${problem}`,
    });
  }
}

/** A file that a request names and that cannot be read. */
export class UnreadableFileError extends ThawError {
  constructor(path: string, problem: string) {
    super({
      code: 'ERR_API_UNREADABLE_FILE',
      fault: 'caller',
      message: `Cannot read "${path}": ${problem}`,
    });
  }
}

/** The worker's server ends without waiting for the calls that are under way. */
export class WorkerStoppingError extends ThawError {
  constructor() {
    super({
      code: 'ERR_API_STOPPING',
      fault: 'environment',
      message: 'Cannot finish the call: "thaw serve" was told twice to stop; call again',
      retryable: true,
    });
  }
}
