/** What can go wrong with keys. No message holds a byte of one. */

import { ThawError, errorMessage } from '../base/index.ts';

export class KeysUnwrapRefusedError extends ThawError {
  /** Says the same whatever did not match: the tenant, the context or the wrapped bytes. */
  constructor() {
    super({
      code: 'ERR_KEYS_UNWRAP_REFUSED',
      fault: 'caller',
      message:
        'Cannot unwrap a data key: it was not wrapped for this tenant and context under a key that is here; check the tenant and that the keyring is the one that published the image',
    });
  }
}

export class KeysInsecureFileError extends ThawError {
  constructor(path: string, found: string) {
    super({
      code: 'ERR_KEYS_INSECURE_FILE',
      fault: 'environment',
      message: `Cannot use the keyring "${path}": ${found}; make it yours alone with: chown "$(id -u)" ${path} && chmod 600 ${path}`,
    });
  }
}

export class KeysMalformedFileError extends ThawError {
  constructor(path: string, complaint: string) {
    super({
      code: 'ERR_KEYS_MALFORMED_FILE',
      fault: 'data',
      message: `Cannot read the keyring "${path}": ${complaint}; it was left as it is, restore it from a backup (images sealed with lost keys cannot be opened)`,
    });
  }
}

/** A key is to be made anew although something is sealed under the one that was. */
export class KeysLostError extends ThawError {
  constructor(path: string, whose: string) {
    super({
      code: 'ERR_KEYS_LOST',
      fault: 'environment',
      message: `Cannot find the key of ${whose} in the keyring "${path}", and there are images that need it: restore the keyring from a backup, remove those images, or start anew with another --root`,
    });
  }
}

export class KeysUnavailableError extends ThawError {
  constructor(path: string, cause: unknown) {
    super({
      code: 'ERR_KEYS_UNAVAILABLE',
      fault: 'environment',
      message: `Cannot use the keyring "${path}": ${errorMessage(cause)}`,
      retryable: true,
      cause,
    });
  }
}
