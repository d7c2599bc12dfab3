/** What can go wrong with a sandbox, each cause with its code. */

import { errorMessage, ThawError } from '../base/index.ts';
import type { InvocationError } from './runtime-api/runtime-api-contract.ts';

/** A `SandboxSpec` that no sandbox can be made of. */
export class SandboxSpecError extends ThawError {
  constructor(problem: string, cause?: unknown) {
    super({
      code: 'ERR_SANDBOX_SPEC',
      fault: 'caller',
      message: `Cannot create a sandbox: ${problem}`,
      cause,
    });
  }
}

/** The image's user is not one that its own /etc/passwd and /etc/group know. */
export class SandboxUserError extends ThawError {
  constructor(user: string, problem: string) {
    super({
      code: 'ERR_SANDBOX_USER',
      fault: 'caller',
      message: `Cannot run as user "${user}": ${problem}`,
    });
  }
}

/** The program to run is not there, or is not one. */
export class SandboxEntrypointError extends ThawError {
  constructor(program: string, problem: string) {
    super({
      code: 'ERR_SANDBOX_ENTRYPOINT',
      fault: 'caller',
      message: `Cannot run "${program}" in the image: ${problem}; check its entry point and command`,
    });
  }
}

/** The container runtime refused to start the sandbox. */
export class SandboxStartError extends ThawError {
  constructor(id: string, runtime: string, said: string, cause?: unknown) {
    const reason = said === '' ? 'it gave no reason' : said;
    super({
      code: 'ERR_SANDBOX_START',
      fault: 'environment',
      message: `Cannot start sandbox "${id}" with ${runtime}: ${reason}`,
      cause,
    });
  }
}

/** Something of a sandbox is still there after every attempt to remove it. */
export class SandboxRemoveError extends ThawError {
  constructor(id: string, what: string, cause?: unknown) {
    super({
      code: 'ERR_SANDBOX_REMOVE',
      fault: 'environment',
      message: `Cannot remove ${what} of sandbox "${id}"`,
      cause,
    });
  }
}

/** The sandbox went away while an invocation was waiting in it. */
export class SandboxClosedError extends ThawError {
  constructor(id: string) {
    super({
      code: 'ERR_SANDBOX_CLOSED',
      fault: 'environment',
      message: `Cannot invoke: sandbox "${id}" has been removed`,
    });
  }
}

/** A server inside a sandbox cannot be reached; `errno` as in `ECONNREFUSED`. */
export class SandboxConnectError extends ThawError {
  readonly errno: string;

  constructor(port: number, errno: string) {
    super({
      code: 'ERR_SANDBOX_CONNECT',
      fault: 'environment',
      message: `Cannot connect to port ${port} inside a sandbox: ${errno}`,
    });
    this.errno = errno;
  }
}

/** A sandbox's network cannot be set up. */
export class SandboxNetworkError extends ThawError {
  constructor(what: string, cause?: unknown) {
    const why = cause === undefined ? '' : `: ${errorMessage(cause)}`;
    super({
      code: 'ERR_SANDBOX_NETWORK',
      fault: 'environment',
      message: `Cannot ${what}${why}`,
      cause,
    });
  }
}

/** No container runtime here can run sandboxes. */
export class SandboxRuntimeMissingError extends ThawError {
  constructor(wanted: string, reasons: readonly string[]) {
    super({
      code: 'ERR_SANDBOX_RUNTIME_MISSING',
      fault: 'environment',
      message:
        `Cannot run sandboxes with ${wanted === 'auto' ? 'any runtime' : `"${wanted}"`}: ` +
        `${reasons.join('; ')}; run "thaw doctor" for how to get one`,
    });
  }
}

/** A system call failed; `errno` is its name, as in `EPERM`. */
export class SystemCallError extends ThawError {
  readonly errno: string;

  constructor(call: string, errno: string) {
    super({
      code: 'ERR_SANDBOX_SYSTEM_CALL',
      fault: 'environment',
      message: `System call ${call} failed with ${errno}`,
    });
    this.errno = errno;
  }
}

/** A file of the image that Thaw must read is not readable as such. */
export class RootFileError extends ThawError {
  constructor(path: string, problem: string) {
    super({
      code: 'ERR_SANDBOX_ROOT_FILE',
      fault: 'data',
      message: `Cannot read "${path}" of the image: ${problem}`,
    });
  }
}

/** A function failed after part of its response had been given; `failure` is what its caller gets to know. */
export class InvocationBrokenError extends ThawError {
  readonly failure: InvocationError;

  constructor(failure: InvocationError, cause?: unknown) {
    super({
      code: 'ERR_SANDBOX_INVOCATION_BROKEN',
      fault: 'data',
      message: `The function failed while it wrote its response: ${failure.errorType}`,
      cause,
    });
    this.failure = failure;
  }
}

/** An extension of the image cannot be started. */
export class SandboxExtensionError extends ThawError {
  constructor(name: string, problem: string, cause?: unknown) {
    super({
      code: 'ERR_SANDBOX_EXTENSION',
      fault: 'caller',
      message: `Cannot start extension "${name}" in the image's /opt/extensions: ${problem}`,
      cause,
    });
  }
}
