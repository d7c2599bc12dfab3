/** For servers of tests, which are made of promises. */

import type { ZoneServer } from '../zone/zone-server.ts';

/** `ZoneServer.ask`, by way of `get`, which may do as if it had not been aborted. */
export function askBy(get: ZoneServer['get']): ZoneServer['ask'] {
  return (key, reader) => {
    const abort = new AbortController();
    const request = {
      signal: abort.signal,
      get priority() {
        return reader.priority;
      },
    };
    const tell = async (): Promise<void> => {
      try {
        const value = await get(key, request);
        if (!abort.signal.aborted) reader.found(value);
      } catch (thrown) {
        if (!abort.signal.aborted) reader.failed(thrown);
      }
    };
    void tell();
    return () => abort.abort();
  };
}
