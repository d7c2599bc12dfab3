/**
 * Links by which the code of a zip function can be downloaded for a while without signing anything, as GetFunction gives them:
 * whoever has one was given it. They are good for this server only, until it ends.
 */

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

import type { FunctionRef } from '../../functions/index.ts';

/** What links begin with. */
export const codePrefix = '/code/';

/** Source: GetFunction, "a link to download the deployment package that's valid for 10 minutes". */
const lifeMs = 10 * 60_000;

export class CodeLinks {
  readonly #key = randomBytes(32);

  /** The path of a link that is made now. */
  pathOf(of: Required<FunctionRef>, nowMs: number): string {
    const claim = [of.tenant, of.name, of.qualifier, nowMs + lifeMs].join('/');
    return `${codePrefix}${Buffer.from(claim).toString('base64url')}.${this.#sign(claim).toString('base64url')}`;
  }

  /** Undefined if it is no link of ours, or no longer one. */
  find(path: string, nowMs: number): FunctionRef | undefined {
    const [claimText = '', signature = ''] = path.slice(codePrefix.length).split('.');
    const claim = Buffer.from(claimText, 'base64url').toString();
    const given = Buffer.from(signature, 'base64url');
    const expected = this.#sign(claim);
    if (given.byteLength !== expected.byteLength || !timingSafeEqual(given, expected)) {
      return undefined;
    }
    const [tenant = '', name = '', qualifier = '', endsMs] = claim.split('/');
    return Number(endsMs) > nowMs ? { tenant, name, qualifier } : undefined;
  }

  #sign(claim: string): Buffer {
    return createHmac('sha256', this.#key).update(claim).digest();
  }
}
