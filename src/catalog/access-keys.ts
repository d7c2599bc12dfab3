/** Access keys: who signs requests for which tenant. Secrets are only ever kept wrapped by the key service. */

export interface TenantRecord {
  readonly name: string;
  readonly createdAtMs: number;
}

export interface AccessKeyRecord {
  /** 20 characters of `A-Z 0-9`, beginning with `AKIA`; unique. */
  readonly accessKeyId: string;
  readonly tenant: string;
  /** The secret, sealed for the tenant. */
  readonly wrappedSecret: Uint8Array;
  readonly createdAtMs: number;
}

export interface AccessKeyCatalog {
  /** Throws `ERR_CATALOG_TENANT_EXISTS`. */
  addTenant(tenant: TenantRecord): Promise<void>;
  /** In byte order of names. */
  listTenants(): Promise<readonly TenantRecord[]>;
  /** Throws `ERR_CATALOG_NO_SUCH_TENANT`. */
  addAccessKey(key: AccessKeyRecord): Promise<void>;
  findAccessKey(accessKeyId: string): Promise<AccessKeyRecord | undefined>;
  /** Oldest first. */
  listAccessKeys(tenant: string): Promise<readonly AccessKeyRecord[]>;
  /** False if the tenant had none of that id. */
  removeAccessKey(tenant: string, accessKeyId: string): Promise<boolean>;
}
