/**
 * Answers a registry's challenges: Basic, and Bearer with tokens from the server that the challenge names.
 * Sources: RFC 9110, section 11; distribution project, "Token Authentication Specification" and "OAuth2 token
 * authentication". Credentials go to the registry itself and to the token server that it names, nowhere else.
 */

import { SingleFlight, type Clock } from '../base/index.ts';
import { OciRegistryError, OciUnauthorizedError } from './errors.ts';
import type { HttpClient, HttpResponse } from './http-client.ts';
import type { Login } from './registry-credentials.ts';

const tokenAnswerBytesMax = 1024 * 1024;
/** What a token server that says nothing means. Source: "Token Authentication Specification", `expires_in`. */
const tokenLifeDefaultMs = 60_000;
/** A token is renewed before the last part of its life, in which it might expire on the way. */
const tokenLifeUsed = 0.9;

export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** Parses a WWW-Authenticate header, which may hold several challenges. Words that are none are skipped. */
export function parseChallenges(header: string): Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  const pieces = header.matchAll(/([\w-]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^\s,"]+)|([\w-]+)/g);
  for (const [, name, value, scheme] of pieces) {
    if (scheme !== undefined) {
      challenges.push({ scheme: scheme.toLowerCase(), parameters: new Map() });
    } else if (name !== undefined && value !== undefined) {
      const text = value.startsWith('"') ? value.slice(1, -1).replaceAll(/\\(.)/g, '$1') : value;
      challenges.at(-1)?.parameters.set(name.toLowerCase(), text);
    }
  }
  return challenges;
}

export interface RegistryAuthOptions {
  /** The registry as the user wrote it, for errors. */
  readonly where: string;
  readonly repository: string;
  readonly http: HttpClient;
  readonly clock: Clock;
  /** Called at the first challenge only. */
  readonly findLogin: () => Promise<Login | undefined>;
}

interface Authorization {
  readonly header: string;
  readonly expiresAtMs: number;
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}

export class RegistryAuth {
  readonly #options: RegistryAuthOptions;
  readonly #renewals = new SingleFlight<string, void>();
  #current: Authorization | undefined;
  #login: Promise<Login | undefined> | undefined;

  constructor(options: RegistryAuthOptions) {
    this.#options = options;
  }

  /** The Authorization header to send; undefined until a challenge, and when a token has expired. */
  header(): string | undefined {
    const isFresh =
      this.#current !== undefined && this.#options.clock.monotonicMs() < this.#current.expiresAtMs;
    return isFresh ? this.#current?.header : undefined;
  }

  /**
   * Answers the challenge that came with a 401, so that `header` has something better than `refused`. Calls at
   * the same time share one answer. Throws `ERR_OCI_UNAUTHORIZED` where there is nothing better.
   */
  async answer(response: HttpResponse, refused: string | undefined): Promise<void> {
    const known = this.header();
    if (known !== undefined && known !== refused) return;
    const challenges = parseChallenges(response.headers.get('www-authenticate') ?? '');
    await this.#renewals.run('', () => this.#renew(challenges, refused));
  }

  async #renew(challenges: readonly Challenge[], refused: string | undefined): Promise<void> {
    this.#login ??= this.#options.findLogin();
    const login = await this.#login;
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    const accepted =
      bearer === undefined && challenges.some(({ scheme }) => scheme === 'basic')
        ? this.#basic(login)
        : await this.#bearer(bearer, login);
    if (accepted.header === refused) throw this.#refuse(login);
    this.#current = accepted;
  }

  #refuse(login: Login | undefined): OciUnauthorizedError {
    const { where, repository } = this.#options;
    const why =
      login === undefined
        ? `it wants credentials for "${repository}", or has no such repository; log in to it first`
        : `it refuses the credentials given for "${repository}", or has no such repository`;
    return new OciUnauthorizedError(where, why);
  }

  #basic(login: Login | undefined): Authorization {
    if (login?.kind !== 'password') throw this.#refuse(login);
    return { header: basic(login.username, login.password), expiresAtMs: Infinity };
  }

  async #bearer(
    challenge: Challenge | undefined,
    login: Login | undefined,
  ): Promise<Authorization> {
    if (login?.kind === 'registry-token') {
      return { header: `Bearer ${login.token}`, expiresAtMs: Infinity };
    }
    const realm = challenge?.parameters.get('realm');
    if (challenge === undefined || realm === undefined || !URL.canParse(realm)) {
      const why = 'it refuses us without saying how to log in';
      throw new OciRegistryError(this.#options.where, why, { retryable: false });
    }
    const startedMs = this.#options.clock.monotonicMs();
    const response = await this.#requestToken(new URL(realm), challenge, login);
    const { token, lifeMs } = await this.#readToken(response, login);
    return { header: `Bearer ${token}`, expiresAtMs: startedMs + lifeMs * tokenLifeUsed };
  }

  #requestToken(
    realm: URL,
    { parameters }: Challenge,
    login: Login | undefined,
  ): Promise<HttpResponse> {
    const fields = new Map([
      ['service', parameters.get('service')],
      ['scope', parameters.get('scope') ?? `repository:${this.#options.repository}:pull`],
    ]);
    if (login?.kind === 'identity-token') {
      const form = new URLSearchParams({ grant_type: 'refresh_token', client_id: 'thaw' });
      form.set('refresh_token', login.token);
      for (const [name, value] of fields) if (value !== undefined) form.set(name, value);
      return this.#options.http.send({ url: realm, headers: {}, form });
    }
    for (const [name, value] of fields) {
      if (value !== undefined) realm.searchParams.set(name, value);
    }
    if (login?.kind !== 'password') return this.#options.http.send({ url: realm, headers: {} });
    realm.searchParams.set('account', login.username);
    const headers = { authorization: basic(login.username, login.password) };
    return this.#options.http.send({ url: realm, headers });
  }

  async #readToken(
    response: HttpResponse,
    login: Login | undefined,
  ): Promise<{ token: string; lifeMs: number }> {
    const { where } = this.#options;
    if (response.status !== 200) {
      response.discard();
      if (response.status >= 400 && response.status < 404) throw this.#refuse(login);
      const retryable = response.status >= 500 || response.status === 429;
      const why = `its token server answers with status ${response.status}`;
      throw new OciRegistryError(where, why, { retryable });
    }
    const bytes = await response.bytes('the answer of a token server', tokenAnswerBytesMax);
    const answer = parseTokenAnswer(bytes);
    const token = answer.get('token') ?? answer.get('access_token');
    if (typeof token !== 'string' || !/^[\u0021-\u007e]+$/.test(token)) {
      throw new OciRegistryError(where, 'its token server gives no token', { retryable: false });
    }
    const seconds = answer.get('expires_in');
    const isStated = typeof seconds === 'number' && seconds > 0;
    return { token, lifeMs: isStated ? seconds * 1000 : tokenLifeDefaultMs };
  }
}

/** Empty if it is no JSON object. */
function parseTokenAnswer(bytes: Uint8Array): Map<string, unknown> {
  try {
    const answer: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    return new Map(typeof answer === 'object' && answer !== null ? Object.entries(answer) : []);
  } catch {
    return new Map();
  }
}
