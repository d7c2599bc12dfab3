/**
 * Where nothing is signed, a web page in a browser of this machine could call the API as well as its owner: by a form, or by
 * a name that resolves to 127.0.0.1. Browsers say which page is asking and by which name; programs do not.
 */

import type { Authenticator } from '../sigv4/authenticator.ts';
import { LambdaError } from './lambda-error.ts';

/** Whether whoever listens there is reached from this machine only. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Asks `authenticator` only for requests that no web page can have made. */
export function withoutBrowsers(authenticator: Authenticator): Authenticator {
  return {
    authenticate: async (request) => {
      const { host, origin, 'sec-fetch-site': fetchSite } = request.headers;
      const name = /^\[?([^\]]*?)\]?(?::\d+)?$/.exec(String(host ?? ''))?.[1] ?? '';
      if (origin === undefined && fetchSite === undefined && isLoopback(name)) {
        return await authenticator.authenticate(request);
      }
      throw new LambdaError(
        'AccessDeniedException',
        'Without authentication the API takes no requests of web pages, and none by another name than localhost',
      );
    },
  };
}
