/**
 * A token server as registries have them, for tests: it checks a user's password and signs a token that the
 * registry verifies by our certificate. Source: distribution project, "Token Authentication Specification".
 */

import { createPrivateKey, randomUUID, sign, X509Certificate } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

import { makeCertificate } from './certificate.ts';
import { serveLocally } from './local-server.ts';

export interface TokenServer {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  readonly certificatePath: string;
  /** Tokens given out so far. */
  readonly issuedCount: number;
  stop(): Promise<void>;
}

const service = 'thaw test registry';
const issuer = 'thaw test token server';

function base64url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** What a scope `repository:NAME:pull,push` asks for, in the token's own terms. */
function accessOf(scope: string): object[] {
  const match = /^(\w+):(.+):([\w,]*)$/.exec(scope);
  return match === null
    ? []
    : [{ type: match[1], name: match[2], actions: (match[3] ?? '').split(',') }];
}

export async function startTokenServer(
  dir: string,
  user: { readonly username: string; readonly password: string },
  lifeSeconds: number,
): Promise<TokenServer> {
  const made = await makeCertificate(dir);
  const { certificatePath } = made;
  const key = createPrivateKey(made.key);
  const certificate = new X509Certificate(made.certificate);
  const expected = `Basic ${Buffer.from(`${user.username}:${user.password}`).toString('base64')}`;
  let issuedCount = 0;

  const issue = (scopes: readonly string[]): string => {
    issuedCount += 1;
    const nowSeconds = Math.floor(Date.now() / 1000);
    const header = { typ: 'JWT', alg: 'ES256', x5c: [certificate.raw.toString('base64')] };
    const claims = {
      iss: issuer,
      sub: user.username,
      aud: service,
      iat: nowSeconds,
      nbf: nowSeconds - 10,
      exp: nowSeconds + lifeSeconds,
      jti: randomUUID(),
      access: scopes.flatMap(accessOf),
    };
    const signed = `${base64url(header)}.${base64url(claims)}`;
    const signature = sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' });
    return `${signed}.${signature.toString('base64url')}`;
  };

  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const { searchParams } = new URL(request.url ?? '/', 'http://localhost');
    const isAllowed =
      request.headers.authorization === expected && searchParams.get('service') === service;
    response.writeHead(isAllowed ? 200 : 401, { 'content-type': 'application/json' });
    const token = isAllowed ? issue(searchParams.getAll('scope')) : undefined;
    response.end(JSON.stringify({ token, expires_in: lifeSeconds }));
  };

  const server = await serveLocally(createServer(answer));
  return {
    realm: `http://${server.host}/token`,
    service,
    issuer,
    certificatePath,
    get issuedCount() {
      return issuedCount;
    },
    stop: () => Promise.resolve(server[Symbol.asyncDispose]()),
  };
}
