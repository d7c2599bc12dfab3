/**
 * Access keys of tenants, as AWS's tools take them: an id, and a secret that is shown once. The secret is made of a data key of
 * the key service, so that the catalog holds it wrapped only, and whoever reads the catalog cannot sign.
 */

import { randomBytes } from 'node:crypto';

import type { Clock } from '../../base/index.ts';
import type { AccessKeyCatalog, AccessKeyRecord } from '../../catalog/index.ts';
import type { KeyService } from '../../keys/index.ts';

/** Where keys are kept, and who wraps their secrets. */
export interface AccessKeysOptions {
  readonly catalog: Pick<AccessKeyCatalog, 'addAccessKey' | 'findAccessKey'>;
  readonly keys: Pick<KeyService, 'generateDataKey' | 'unwrapDataKey'>;
  readonly clock: Clock;
}

/** A new key. Nobody can be shown the secret again. */
export interface NewAccessKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** Whose key an id is, and its secret. */
export interface KnownAccessKey {
  readonly tenant: string;
  readonly secretAccessKey: string;
}

export interface AccessKeys {
  /** Throws `ERR_CATALOG_NO_SUCH_TENANT`. */
  create(tenant: string): Promise<NewAccessKey>;
  /** Undefined if there is none of this id, from the moment that it is removed. */
  find(accessKeyId: string): Promise<KnownAccessKey | undefined>;
}

/** As AWS's: it tells a long-lived key of a user from others. */
const idPrefix = 'AKIA';
const idAlphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const idRandomLength = 16;
/** 40 characters of base64, as AWS's. */
const secretBytes = 30;
const secretsKeptMax = 1024;

/** Keys of all tenants; unwrapped secrets of the last 1,024 keys used stay in memory. */
export function createAccessKeys(options: AccessKeysOptions): AccessKeys {
  const { catalog, keys, clock } = options;
  /** By what it was unwrapped from, so that a key that is made anew under an old id does not find the old secret. */
  const secrets = new Map<string, string>();

  async function secretOf(record: AccessKeyRecord): Promise<string> {
    const wrapped = Buffer.from(record.wrappedSecret).toString('base64');
    const known = secrets.get(wrapped);
    if (known !== undefined) return known;
    const context = contextOf(record.accessKeyId);
    const dataKey = await keys.unwrapDataKey(record.tenant, record.wrappedSecret, context);
    const secret = secretFrom(dataKey);
    const [oldest] = secrets.keys();
    if (secrets.size >= secretsKeptMax && oldest !== undefined) secrets.delete(oldest);
    secrets.set(wrapped, secret);
    return secret;
  }

  return {
    create: async (tenant) => {
      const accessKeyId = newAccessKeyId();
      const dataKey = await keys.generateDataKey(tenant, contextOf(accessKeyId));
      const secretAccessKey = secretFrom(dataKey.plaintext);
      await catalog.addAccessKey({
        accessKeyId,
        tenant,
        wrappedSecret: dataKey.wrapped,
        createdAtMs: clock.nowMs(),
      });
      return { accessKeyId, secretAccessKey };
    },
    find: async (accessKeyId) => {
      const record = await catalog.findAccessKey(accessKeyId);
      if (record === undefined) return undefined;
      return { tenant: record.tenant, secretAccessKey: await secretOf(record) };
    },
  };
}

function contextOf(accessKeyId: string): Readonly<Record<string, string>> {
  return { purpose: 'access-key', accessKeyId };
}

/** 80 bits: ids are not secret, and the catalog refuses a second of one. */
function newAccessKeyId(): string {
  const random = [...randomBytes(idRandomLength)].map(
    (byte) => idAlphabet[byte % idAlphabet.length],
  );
  return idPrefix + random.join('');
}

/** Overwrites the data key. */
function secretFrom(dataKey: Uint8Array): string {
  const secret = Buffer.from(dataKey.subarray(0, secretBytes)).toString('base64');
  dataKey.fill(0);
  return secret;
}
