/** Waiting that can be given up. */

/**
 * `work`'s outcome, or `signal`'s reason thrown as soon as it is aborted; `work` itself goes on unheeded. One promise and one listener: what
 * every chunk passes through several times.
 */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    const fulfilled = (result: T): void => {
      signal.removeEventListener('abort', abort);
      resolve(result);
    };
    const rejected = (cause: unknown): void => {
      signal.removeEventListener('abort', abort);
      reject(cause);
    };
    work.then(fulfilled, rejected);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}
