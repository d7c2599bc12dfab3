/**
 * The one family of errors. Every failure that Thaw raises deliberately is a `ThawError` with a stable
 * `code`; each room declares its own subclasses in its `errors.ts`. Callers match on `code`, never on the
 * class, because errors cross threads and processes as JSON and lose their class there.
 *
 * Messages follow one form: sentence case, no final period, quotes around names, what is wrong with which
 * thing, then what to do. They never hold key material, tokens or passwords.
 */

/** Whose fault a failure is: what the caller asked, the bytes read, the machine around us, or our code. */
export type ErrorFault = 'caller' | 'data' | 'environment' | 'bug';

/** A `ThawError` as it crosses a thread or a socket. */
export interface ErrorJson {
  readonly name: string;
  readonly code: string;
  readonly fault: ErrorFault;
  readonly retryable: boolean;
  readonly message: string;
  readonly details?: ErrorDetails;
}

/** Facts of an error that programs act on, such as when to try again. Never secrets. */
export type ErrorDetails = Readonly<Record<string, string | number>>;

export interface ThawErrorOptions {
  /** `ERR_ROOM_CAUSE`, listed with its exit status in `src/cli/exit-status.ts`. */
  readonly code: string;
  readonly fault: ErrorFault;
  readonly message: string;
  /** True if the same call may succeed later without anybody changing anything. Default false. */
  readonly retryable?: boolean;
  readonly details?: ErrorDetails;
  readonly cause?: unknown;
}

export class ThawError extends Error {
  readonly code: string;
  readonly fault: ErrorFault;
  readonly retryable: boolean;
  readonly details: ErrorDetails | undefined;

  constructor(options: ThawErrorOptions) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = options.code;
    this.fault = options.fault;
    this.retryable = options.retryable ?? false;
    this.details = options.details;
  }

  /** What crosses a thread or a socket; the cause and the stack stay behind. */
  toJSON(): ErrorJson {
    return {
      name: this.name,
      code: this.code,
      fault: this.fault,
      retryable: this.retryable,
      message: this.message,
      ...(this.details === undefined ? {} : { details: this.details }),
    };
  }
}

/** Raised where Thaw's own code broke one of its invariants: always a bug to report. */
export class InternalError extends ThawError {
  constructor(message: string, cause?: unknown) {
    super({ code: 'ERR_INTERNAL', fault: 'bug', message, cause });
  }
}

/** Throws `InternalError` unless `condition` holds. For invariants of ours, never for checking input. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InternalError(message);
}

/** Returns `value`, which our own invariants say is there; throws `InternalError` if it is not. */
export function present<T>(value: T | undefined | null, what: string): T {
  if (value === undefined || value === null) throw new InternalError(`Missing ${what}`);
  return value;
}

/** The code of any thrown value: a `ThawError`'s, a system error's (`ENOENT`), or undefined. */
export function errorCode(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return undefined;
  return typeof thrown.code === 'string' ? thrown.code : undefined;
}

/** The message of any thrown value, on one line. */
export function errorMessage(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return text.replaceAll(/\s*\n\s*/g, '; ');
}

/**
 * Serialises any thrown value for a socket or a thread. Errors not raised deliberately become
 * `ERR_INTERNAL`, and keep their message: both ends are this machine's administrator.
 */
export function errorToJson(thrown: unknown): ErrorJson {
  if (thrown instanceof ThawError) return thrown.toJSON();
  return new InternalError(errorMessage(thrown), thrown).toJSON();
}

/** The inverse of `errorToJson`: a `ThawError` with the same code, fault, message and details, and a name to match. */
export function errorFromJson(json: ErrorJson): ThawError {
  const error = new ThawError(json);
  error.name = json.name;
  return error;
}
