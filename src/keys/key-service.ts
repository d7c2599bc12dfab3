/**
 * Whoever holds the keys: a local keyring now, AWS KMS or Vault transit later. The interface is
 * theirs: data keys are generated and wrapped for a tenant, and unwrapped only with the same
 * context. Source: paper §3.1 (a key per customer), AWS KMS GenerateDataKey and Decrypt with
 * EncryptionContext.
 */

/** Bound to a wrapped key; unwrapping with any other context fails. Values are not secret. */
export type EncryptionContext = Readonly<Record<string, string>>;

export interface DataKey {
  /** 32 bytes. The caller's; overwrite it with zeros after use. */
  readonly plaintext: Uint8Array;
  /** At most 512 bytes, opaque, safe to store next to what the key seals. */
  readonly wrapped: Uint8Array;
}

export interface KeyService {
  /** A new random data key, wrapped under the tenant's key, which is made on first use. */
  generateDataKey(tenant: string, context: EncryptionContext): Promise<DataKey>;
  /**
   * The data key's 32 bytes. Throws `ERR_KEYS_UNWRAP_REFUSED` if the tenant, the context or a byte
   * of `wrapped` is not the one it was wrapped with, without saying which.
   */
  unwrapDataKey(
    tenant: string,
    wrapped: Uint8Array,
    context: EncryptionContext,
  ): Promise<Uint8Array>;
  /**
   * The 32 secret bytes mixed into the chunk keys of a root (paper §3.3), the same for all tenants,
   * made on first use. Equal chunks under one salt are stored once; under two salts they have
   * nothing in common.
   */
  salt(rootId: string): Promise<Uint8Array>;
}
