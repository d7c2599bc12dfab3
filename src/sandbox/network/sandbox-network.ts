/** The networks that sandboxes can have, and what a sandbox must know about its own. */

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { errorMessage, type Log } from '../../base/index.ts';
import { openNat, sweepNat, type Nat } from './nat.ts';
import { hostResolvConf } from './name-servers.ts';
import type { NetworkNamespace } from './network-namespace.ts';
import type { SandboxNetwork } from '../sandbox.ts';

/** Where a sandbox's sockets are. */
export type SandboxLink = Pick<NetworkNamespace, 'within'>;

/** The host's own network. */
export const hostLink: SandboxLink = { within: (work) => work() };

const noNameServers = '# There are no name servers: a sandbox has no network but its loopback.\n';

/** Rules for the way out are made when the first sandbox needs it, and go with this. */
export class SandboxNetworks implements AsyncDisposable {
  readonly #log: Log;
  /** There once a worker of this state directory has made rules. */
  readonly #marker: string;
  #nat: Promise<Nat> | undefined;

  constructor(stateDir: string, log: Log) {
    this.#log = log;
    this.#marker = join(stateDir, 'nat-used');
  }

  /** Removes the rules of workers that were killed. */
  async sweep(): Promise<void> {
    if (!existsSync(this.#marker)) return;
    try {
      await sweepNat(this.#log);
    } catch (thrown) {
      this.#log.warn('Cannot look for network rules of workers that are gone', {
        error: errorMessage(thrown),
      });
    }
  }

  /** The text of /etc/resolv.conf. Throws `ERR_SANDBOX_NETWORK`. */
  async resolvConf(network: SandboxNetwork): Promise<string> {
    if (network === 'none') return noNameServers;
    return network === 'host' ? hostResolvConf() : (await this.#openNat()).resolvConf;
  }

  /** Gives a fresh namespace a way out. Throws `ERR_SANDBOX_NETWORK`. */
  async connect(namespace: NetworkNamespace): Promise<void> {
    (await this.#openNat()).attach(namespace);
  }

  #openNat(): Promise<Nat> {
    writeFileSync(this.#marker, '');
    this.#nat ??= openNat(this.#log).catch((thrown: unknown) => {
      this.#nat = undefined; // what was missing may be there at the next start
      throw thrown;
    });
    return this.#nat;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const nat = await this.#nat?.catch(() => undefined);
    await nat?.[Symbol.asyncDispose]();
  }
}
