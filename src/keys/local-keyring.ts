/**
 * Keys in a file on this machine, for one machine and for trying Thaw: who can read the file can
 * open every image. Tenants' keys and roots' salts are 32 random bytes each, made when first asked
 * for.
 */

import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';

import { Semaphore } from '../base/index.ts';
import { KeysLostError, KeysUnwrapRefusedError } from './errors.ts';
import type { DataKey, EncryptionContext, KeyService } from './key-service.ts';
import { keySizeBytes, unwrapKey, wrapKey } from './key-wrapping.ts';
import { KeyringFile, type SecretKind } from './keyring-file.ts';

/** All state is private, so that printing or serialising it shows nothing. */
class LocalKeyring implements KeyService {
  readonly #file: KeyringFile;
  readonly #options: KeyringOptions;
  /** One writer of this process at a time: the others will mostly find what it made. */
  readonly #writing = new Semaphore(1);

  constructor(file: KeyringFile, options: KeyringOptions) {
    this.#file = file;
    this.#options = options;
  }

  async generateDataKey(tenant: string, context: EncryptionContext): Promise<DataKey> {
    const tenantKey = await this.#secret('tenants', tenant);
    const plaintext = randomBytes(keySizeBytes);
    return { plaintext, wrapped: wrapKey(tenantKey, plaintext, { tenant, context }) };
  }

  async unwrapDataKey(
    tenant: string,
    wrapped: Uint8Array,
    context: EncryptionContext,
  ): Promise<Uint8Array> {
    const tenantKey = (await this.#file.read()).tenants.get(tenant);
    if (tenantKey === undefined) throw new KeysUnwrapRefusedError();
    return unwrapKey(tenantKey, wrapped, { tenant, context });
  }

  async salt(rootId: string): Promise<Uint8Array> {
    return Uint8Array.from(await this.#secret('salts', rootId));
  }

  async #secret(kind: SecretKind, name: string): Promise<Uint8Array> {
    const found = (await this.#file.read())[kind].get(name);
    if (found !== undefined) return found;
    return this.#writing.run(() =>
      this.#file.getOrAdd(kind, name, async () => {
        await this.#checkNew(kind, name);
        return randomBytes(keySizeBytes);
      }),
    );
  }

  async #checkNew(kind: SecretKind, name: string): Promise<void> {
    const { isInUse = async () => false } = this.#options;
    const user = kind === 'tenants' ? { tenant: name } : { rootId: name };
    if (!(await isInUse(user))) return;
    const whose = kind === 'tenants' ? `tenant "${name}"` : `root "${name}"`;
    throw new KeysLostError(this.#file.path, whose);
  }
}

/** Whom a key is for. */
export type KeyUser = { readonly tenant: string } | { readonly rootId: string };

export interface KeyringOptions {
  /**
   * Asked before a key is made: true if something is sealed under the one that `user` had, which then must be
   * lost; the call throws `ERR_KEYS_LOST`. Default: nothing is.
   */
  readonly isInUse?: (user: KeyUser) => Promise<boolean>;
}

/**
 * Opens the keyring in file `path`, which is made, with its directory, when the first key is: by
 * any number of processes at once, none of which loses a key of another's. Throws
 * `ERR_KEYS_INSECURE_FILE` where others may read the file, `ERR_KEYS_MALFORMED_FILE`,
 * `ERR_KEYS_UNAVAILABLE`; every call of the service may throw them too.
 */
export async function openLocalKeyring(
  path: string,
  options: KeyringOptions = {},
): Promise<KeyService> {
  const file = new KeyringFile(resolve(path));
  await file.read();
  return new LocalKeyring(file, options);
}
