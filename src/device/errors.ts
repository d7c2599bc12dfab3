/** What can go wrong between an image and its mount. */

import { ThawError } from '../base/index.ts';

export class ImageUnsupportedError extends ThawError {
  constructor(manifestId: string, why: string) {
    super({
      code: 'ERR_DEVICE_IMAGE_UNSUPPORTED',
      fault: 'data',
      message: `Cannot serve image "${manifestId}": ${why}`,
    });
  }
}

export class BadRequestError extends ThawError {
  constructor(what: string) {
    super({
      code: 'ERR_DEVICE_BAD_REQUEST',
      fault: 'caller',
      message: `Cannot understand a call to the agent: ${what}; client and agent may be of different versions`,
    });
  }
}

export class ImageNotOpenError extends ThawError {
  constructor(manifestId: string) {
    super({
      code: 'ERR_DEVICE_IMAGE_NOT_OPEN',
      fault: 'caller',
      message: `Cannot use image "${manifestId}": it is not open on this machine; open or mount it first`,
    });
  }
}

/** An image is open for one tenant, and another asks for it. A manifest is sealed for one tenant only. */
export class WrongTenantError extends ThawError {
  constructor(manifestId: string, tenant: string) {
    super({
      code: 'ERR_DEVICE_WRONG_TENANT',
      fault: 'caller',
      message: `Cannot open image "${manifestId}" for tenant "${tenant}": it belongs to another tenant`,
    });
  }
}

/** The agent is on its way out; one that starts after it will answer. */
export class AgentStoppingError extends ThawError {
  constructor() {
    super({
      code: 'ERR_DEVICE_AGENT_STOPPING',
      fault: 'environment',
      message: 'Cannot open an image: the agent is stopping; try again',
      retryable: true,
    });
  }
}

export class HolderRunningError extends ThawError {
  constructor(runDir: string) {
    super({
      code: 'ERR_DEVICE_HOLDER_RUNNING',
      fault: 'environment',
      message: `Cannot start a holder for "${runDir}": one is running already; use that one`,
    });
  }
}

export class FuseSetupError extends ThawError {
  constructor(why: string, cause?: unknown) {
    super({
      code: 'ERR_DEVICE_FUSE',
      fault: 'environment',
      message: `Cannot set up FUSE: ${why}; run "thaw doctor" for what is missing`,
      cause,
    });
  }
}

/** The agent failed over and over: its readers were given errors instead of being left to wait. */
export class AgentFailingError extends ThawError {
  constructor(forMs: number) {
    super({
      code: 'ERR_DEVICE_AGENT_FAILING',
      fault: 'bug',
      message: `Cannot keep an agent running: it failed for ${forMs} ms; its log says why`,
    });
  }
}

export class AgentUnreachableError extends ThawError {
  constructor(runDir: string, logFile: string, cause: unknown) {
    super({
      code: 'ERR_DEVICE_AGENT_UNREACHABLE',
      fault: 'environment',
      message: `Cannot reach or start an agent in "${runDir}"; "${logFile}" may say why`,
      retryable: true,
      cause,
    });
  }
}

export class MountBusyError extends ThawError {
  constructor(path: string, cause: unknown) {
    super({
      code: 'ERR_DEVICE_MOUNT_BUSY',
      fault: 'caller',
      message: `Cannot unmount "${path}": a process still uses it; stop that process first`,
      cause,
    });
  }
}

export class WritableSpaceError extends ThawError {
  constructor(mountPoint: string, setting: string, cause: unknown) {
    super({
      code: 'ERR_DEVICE_WRITABLE_SPACE',
      fault: 'environment',
      message: `Cannot bound what is written to "${mountPoint}": "${setting}" cannot be set; make /sys writable, or mount read-only`,
      cause,
    });
  }
}

export class NotMountedError extends ThawError {
  constructor(path: string) {
    super({
      code: 'ERR_DEVICE_NOT_MOUNTED',
      fault: 'caller',
      message: `Cannot unmount "${path}": no image of ours is mounted there`,
    });
  }
}

export class LoopDeviceError extends ThawError {
  constructor(path: string) {
    super({
      code: 'ERR_DEVICE_LOOP',
      fault: 'environment',
      message: `Cannot attach "${path}" to a loop device: none is free; run "thaw doctor" for what is missing`,
      retryable: true,
    });
  }
}

export class MountPointTakenError extends ThawError {
  constructor(path: string) {
    super({
      code: 'ERR_DEVICE_MOUNT_POINT_TAKEN',
      fault: 'caller',
      message: `Cannot mount on "${path}": an image is mounted there; unmount it first`,
    });
  }
}

export class ReadDeadlineError extends ThawError {
  constructor(what: string) {
    super({
      code: 'ERR_DEVICE_DEADLINE',
      fault: 'environment',
      message: `Cannot wait for ${what} any longer: the time for a read is up`,
      retryable: true,
    });
  }
}

/** A stored start profile is of no use. Nobody but the log hears of it: a start does without. */
export class StartProfileError extends ThawError {
  constructor(why: string, cause?: unknown) {
    super({
      code: 'ERR_DEVICE_PROFILE',
      fault: 'data',
      message: `Cannot use a start profile: ${why}; the next start replaces it`,
      cause,
    });
  }
}
