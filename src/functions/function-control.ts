/**
 * The contract of the functions room towards whoever manages functions: the Lambda API and the CLI. Semantics, states and
 * limits are Lambda's; names and units are ours. Source: AWS Lambda API reference, the operation of the same name.
 *
 * All calls throw `ERR_FUNCTION_NOT_FOUND` where the function, version or alias that they name is not there for this tenant,
 * `ERR_FUNCTION_BAD_NAME`, and `ERR_FUNCTION_REVISION_CHANGED` where `revisionId` is given and is not the current one.
 */

import type {
  AliasRecord,
  EventInvokeSettings,
  FunctionNetwork,
  FunctionPolicy,
  FunctionRecord,
  FunctionSettings,
  FunctionUrl,
  FunctionUrlCors,
  Page,
  PageRequest,
  Permission,
  WebServerSettings,
} from '../catalog/index.ts';

/** A function; `qualifier` is a version or an alias, by default `$LATEST`. */
export interface FunctionRef {
  readonly tenant: string;
  readonly name: string;
  readonly qualifier?: string;
}

/** New code. An `imageUri` is a published image's id or name, or else a registry's reference, published for the tenant. */
export type FunctionCodeRequest =
  | { readonly packageType: 'Image'; readonly imageUri: string }
  | { readonly packageType: 'Zip'; readonly zipFile: Uint8Array };

/** What can be changed of a function's configuration; left out: as it is, or the default for a new function. */
export interface FunctionConfigurationRequest {
  /** Default empty; at most 256 characters. */
  readonly description?: string;
  readonly role?: string;
  /** Default 128. */
  readonly memoryMb?: number;
  /** Default 3. */
  readonly timeoutSeconds?: number;
  /** Default 512. */
  readonly ephemeralStorageMb?: number;
  readonly environment?: Readonly<Record<string, string>>;
  /** Of an image, all three together: `{}` gives the image's own back. */
  readonly imageConfig?: {
    readonly entrypoint?: readonly string[];
    readonly command?: readonly string[];
    readonly workingDir?: string;
  };
  /** Of a zip archive. */
  readonly runtime?: string;
  readonly handler?: string;
  /** Default `none`. */
  readonly network?: FunctionNetwork;
  /** `null`: no web server any longer. */
  readonly webServer?: WebServerSettings | null;
}

export interface CreateFunctionRequest extends FunctionConfigurationRequest {
  readonly tenant: string;
  readonly name: string;
  readonly code: FunctionCodeRequest;
  readonly tags?: Readonly<Record<string, string>>;
  /** Publishes version 1 as well. */
  readonly publish?: boolean;
}

/** How a change is asked for. */
export interface ChangeOptions {
  readonly revisionId?: string;
  /** Publishes what comes of it as a version, which is then the result. */
  readonly publish?: boolean;
  /** Checks all and changes nothing; the result is what would be. */
  readonly dryRun?: boolean;
}

/** A version with what it belongs to. */
export interface FunctionDescription {
  readonly record: FunctionRecord;
  readonly settings: FunctionSettings;
  /** Set where it was asked for by an alias. */
  readonly alias?: AliasRecord;
}

/** Limits and use of one tenant. */
export interface AccountSettings {
  readonly concurrentExecutionsMax: number;
  /** What is not reserved by functions. */
  readonly unreservedConcurrentExecutions: number;
  readonly functionCount: number;
  readonly codeSizeBytes: number;
}

/** What is left out stays as it is; of a new URL, `AWS_IAM`, `BUFFERED` and no `cors`. */
export interface FunctionUrlRequest extends Partial<Pick<FunctionUrl, 'authType' | 'invokeMode'>> {
  /** `none` removes them. */
  readonly cors?: FunctionUrlCors | 'none';
}

export interface FunctionControl {
  /**
   * Resolves once the function is in the catalog, `Pending` while a reference is still being published, which ends in
   * `Active` or `Failed` whether or not this server lives on. Throws `ERR_FUNCTION_BAD_CONFIG`,
   * `ERR_FUNCTION_BAD_ENVIRONMENT`, `ERR_FUNCTION_BAD_CODE` (neither a published image nor a registry's, unknown
   * runtime), `ERR_ARCHIVE_BAD_ZIP`, `ERR_ARCHIVE_TOO_LARGE`, `ERR_FUNCTION_NO_COMMAND`,
   * `ERR_CATALOG_FUNCTION_EXISTS`.
   */
  create(request: CreateFunctionRequest): Promise<FunctionDescription>;
  find(of: FunctionRef): Promise<FunctionDescription>;
  /** The zip archive as it was uploaded; undefined for an image. Throws `ERR_ARCHIVE_*`, `ERR_STORE_*`, `ERR_KEYS_*`. */
  readArchive(of: FunctionRef): Promise<Uint8Array | undefined>;
  /** `$LATEST` of each, in byte order of names. */
  list(tenant: string, page: PageRequest): Promise<Page<FunctionRecord>>;
  listVersions(of: FunctionRef, page: PageRequest): Promise<Page<FunctionRecord>>;
  /** Throws as `create`, and `ERR_FUNCTION_UPDATE_IN_PROGRESS`. The code that runs until a new image is published is the old one. */
  updateCode(
    of: FunctionRef,
    code: FunctionCodeRequest,
    options?: ChangeOptions,
  ): Promise<FunctionDescription>;
  /** Throws as `create`, and `ERR_FUNCTION_UPDATE_IN_PROGRESS`. The next invoke is a cold start. */
  updateConfiguration(
    of: FunctionRef,
    change: FunctionConfigurationRequest,
    options?: ChangeOptions,
  ): Promise<FunctionDescription>;
  /** `ERR_FUNCTION_BAD_CONFIG` where `codeSha256` is given and is not that of `$LATEST`. */
  publishVersion(
    of: FunctionRef,
    options?: {
      readonly description?: string;
      readonly codeSha256?: string;
      readonly revisionId?: string;
    },
  ): Promise<FunctionDescription>;
  /**
   * Ends its invokes (`ERR_FUNCTION_STOPPED`) and instances, and removes it with its logs and events; with a qualifier
   * that version alone.
   */
  remove(of: FunctionRef): Promise<void>;

  createAlias(alias: Omit<AliasRecord, 'revisionId'>): Promise<AliasRecord>;
  findAlias(of: AliasRef): Promise<AliasRecord>;
  listAliases(
    of: FunctionRef,
    page: PageRequest & { readonly version?: string },
  ): Promise<Page<AliasRecord>>;
  updateAlias(
    of: AliasRef,
    change: Partial<Pick<AliasRecord, 'version' | 'description' | 'additionalVersionWeights'>>,
    options?: Pick<ChangeOptions, 'revisionId'>,
  ): Promise<AliasRecord>;
  /** No error where it is gone. */
  removeAlias(of: AliasRef): Promise<void>;

  /**
   * `undefined` takes the reservation back. Throws `ERR_FUNCTION_BAD_CONFIG` where less than a tenth of what the worker can run
   * at a time would be left for the tenant's other functions (Lambda: 100 of 1,000).
   */
  setReservedConcurrency(of: FunctionRef, reserved: number | undefined): Promise<void>;
  /** Of the function: at most 50 tags, keys up to 128 and values up to 256 characters. */
  changeTags(
    of: FunctionRef,
    change: {
      readonly set?: Readonly<Record<string, string>>;
      readonly remove?: readonly string[];
    },
  ): Promise<void>;
  /** `undefined` removes them. What is left out is `defaultEventInvoke`'s. `qualifier` is a version or an alias, if any. */
  setEventInvoke(
    of: FunctionRef,
    settings: Partial<EventInvokeSettings> | undefined,
  ): Promise<void>;
  /** `undefined` removes it. `qualifier` is an alias, if any. */
  setUrl(of: FunctionRef, url: FunctionUrlRequest | undefined): Promise<FunctionUrl | undefined>;
  /**
   * Keeps what `change` makes of the policy, undefined where there is none, as its permissions; without any the policy is removed. What
   * `change` throws, it throws. `qualifier` is a version or an alias, if any.
   */
  changePolicy(
    of: FunctionRef,
    change: (policy: FunctionPolicy | undefined) => readonly Permission[],
  ): Promise<void>;
  accountSettings(tenant: string): Promise<AccountSettings>;
}

/** Names an alias of a function. */
export interface AliasRef {
  readonly tenant: string;
  readonly functionName: string;
  readonly name: string;
}
