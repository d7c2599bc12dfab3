/** Who sent a request: the tenant whose access key signed it, or the one that all are where nothing is signed. */

import type { Clock } from '../../base/index.ts';
import type { AccessKeys } from './access-keys.ts';
import { UnknownAccessKeyError } from './errors.ts';
import { checkedClaim, verifySignature, type SignedRequest } from './verify-signature.ts';

/** Who sent a request. */
export interface Caller {
  readonly tenant: string;
}

/** A request whose body is not read yet. */
export interface UnreadRequest extends Omit<SignedRequest, 'bodyDigestHex'> {
  /** `tenant`: whose the request claims to be; whether it is only its body tells. */
  readonly bodyDigestHex: (tenant: string) => Promise<string>;
}

export interface Authenticator {
  /** Throws `AuthenticationError`s, whose details have the HTTP status and Lambda's name of the error. */
  authenticate(request: UnreadRequest): Promise<Caller>;
}

/** `region` as clients must name it in the scope that they sign for. */
export interface SignatureAuthenticatorOptions {
  readonly accessKeys: Pick<AccessKeys, 'find'>;
  readonly region: string;
  readonly clock: Clock;
}

/** Lets in what is signed with Signature Version 4 for the service `lambda` of `region`. */
export function signatureAuthenticator(options: SignatureAuthenticatorOptions): Authenticator {
  const scope = { region: options.region, service: 'lambda' };
  return {
    authenticate: async (request) => {
      const claim = checkedClaim(request, scope, options.clock.nowMs());
      if (request.headers['x-amz-security-token'] !== undefined) throw new UnknownAccessKeyError();
      const key = await options.accessKeys.find(claim.accessKeyId);
      if (key === undefined) throw new UnknownAccessKeyError();
      const { tenant, secretAccessKey } = key;
      const signed = { ...request, bodyDigestHex: () => request.bodyDigestHex(tenant) };
      await verifySignature(claim, signed, secretAccessKey);
      return { tenant };
    },
  };
}

/** Lets everybody in as one tenant: for loopback only, which is the caller's to make sure. */
export function noAuthentication(tenant: string): Authenticator {
  return { authenticate: async () => ({ tenant }) };
}
