/**
 * What the catalog remembers of functions: versions of their code and configuration, aliases, what a function has
 * apart from its versions, and the events that wait for it.
 * Source: AWS Lambda API reference, data types FunctionConfiguration, AliasConfiguration, FunctionUrlConfig and
 * FunctionEventInvokeConfig; AddPermission.
 */

import type { ImageRecord } from './image-records.ts';

/** The version that can still be changed. */
export const latestVersion = '$LATEST';

/** What a function's code is. */
export type FunctionCode =
  | {
      readonly packageType: 'Image';
      /** As its owner named it: Lambda's ImageUri. */
      readonly imageUri: string;
      /** Of the published image; undefined while that is being published, or could not be. */
      readonly manifestId?: string;
    }
  | {
      readonly packageType: 'Zip';
      /** Names the image that it runs in, e.g. `nodejs24.x`, `provided`. */
      readonly runtime: string;
      readonly handler: string;
      /** Names the sealed archive in the store: made at random, 64 hex digits. */
      readonly archiveId: string;
      /** The root of the store that the archive is in. */
      readonly rootId: string;
    };

/** An image whose entry point is an ordinary web server. */
export interface WebServerSettings {
  /** 1..65,535, inside the sandbox. */
  readonly port: number;
  /** Begins with `/`: ready when a GET of it is answered with a status below 500. */
  readonly readyPath: string;
}

/** `none`: the Runtime API alone. `nat`: out through the host, without the host's own and metadata addresses. */
export type FunctionNetwork = 'none' | 'nat' | 'host';

/** Source: FunctionConfiguration, `State`; a function without a published image is `Pending` until it has one. */
export type FunctionState = 'Pending' | 'Active' | 'Inactive' | 'Failed';

export type UpdateStatus = 'Successful' | 'InProgress' | 'Failed';

/** Why a state is as it is: Lambda's code (`StateReasonCode`, `LastUpdateStatusReasonCode`) and words. */
export interface StateReason {
  readonly code: string;
  readonly message: string;
}

/** One version of a function: its code, and all that its instances start with. A published one never changes but in `state`. */
export interface FunctionRecord {
  readonly tenant: string;
  /** 1..64 characters of `a-z A-Z 0-9 - _`; unique in its tenant. */
  readonly name: string;
  /** `$LATEST`, or a number from 1 on as text. */
  readonly version: string;
  readonly code: FunctionCode;
  /** SHA-256 in base64, as Lambda's CodeSha256: of the zip archive, or an image's digest. Empty while not known. */
  readonly codeSha256: string;
  /** Of the zip archive; 0 for an image, as in Lambda. */
  readonly codeSizeBytes: number;
  readonly description: string;
  /** Kept and given back; nothing is looked up by it. */
  readonly role: string;
  /** 128..10,240. */
  readonly memoryMb: number;
  /** 1..900. */
  readonly timeoutSeconds: number;
  /** Of /tmp: 512..10,240. */
  readonly ephemeralStorageMb: number;
  readonly environment: Readonly<Record<string, string>>;
  /** Replace what the image's configuration says, where present: Lambda's ImageConfig. */
  readonly entrypoint?: readonly string[];
  readonly command?: readonly string[];
  readonly workingDir?: string;
  readonly network: FunctionNetwork;
  readonly webServer?: WebServerSettings;
  readonly state: FunctionState;
  readonly stateReason?: StateReason;
  readonly lastUpdateStatus: UpdateStatus;
  readonly lastUpdateReason?: StateReason;
  /** While `lastUpdateStatus` is `InProgress`: the image that is being published to come in place of `code`. */
  readonly nextImageUri?: string;
  /** A UUID; another one after every change. */
  readonly revisionId: string;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** Which web pages of other origins may use a function URL, and how. Source: Cors. */
export interface FunctionUrlCors {
  readonly allowCredentials: boolean;
  /** At most 100 of each list but the methods', six; `*` stands for all. */
  readonly allowHeaders: readonly string[];
  readonly allowMethods: readonly string[];
  readonly allowOrigins: readonly string[];
  readonly exposeHeaders: readonly string[];
  /** How long browsers may keep the answer to a preflight request. 0..86,400. */
  readonly maxAgeSeconds: number;
}

/** Source: FunctionUrlConfig. Its URL is `/url/NAME/` of the server. */
export interface FunctionUrl {
  readonly authType: 'NONE' | 'AWS_IAM';
  readonly invokeMode: 'BUFFERED' | 'RESPONSE_STREAM';
  /** Left out: the function answers preflight requests, and sets headers, itself. */
  readonly cors?: FunctionUrlCors;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
}

/** Source: FunctionEventInvokeConfig. */
export interface EventInvokeSettings {
  /** 0..2. */
  readonly retriesMax: number;
  /** 60..21,600. */
  readonly eventAgeMaxSeconds: number;
}

/** Where a function has none of its own. Source: developer guide, "Invoking a Lambda function asynchronously". */
export const defaultEventInvoke: EventInvokeSettings = {
  retriesMax: 2,
  eventAgeMaxSeconds: 21_600,
};

/** Whom a function's owner lets call it, as AddPermission has it. Kept and given back: nothing is decided by it. */
export interface Permission {
  /** 1..100 of `a-z A-Z 0-9 - _`; unique in its policy. */
  readonly statementId: string;
  readonly action: string;
  readonly principal: string;
  readonly sourceArn?: string;
  readonly sourceAccount?: string;
  readonly eventSourceToken?: string;
  readonly principalOrgId?: string;
  readonly urlAuthType?: FunctionUrl['authType'];
  readonly viaUrl?: boolean;
}

export interface FunctionPolicy {
  /** A UUID; another one after every change. */
  readonly revisionId: string;
  /** At least one, in the order in which they were added. */
  readonly permissions: readonly Permission[];
}

/** What a function has whatever its version. */
export interface FunctionSettings {
  readonly tenant: string;
  readonly name: string;
  readonly tags: Readonly<Record<string, string>>;
  /** Of all versions together; undefined: what the worker has, shared with all others. 0 stops the function. */
  readonly reservedConcurrency?: number;
  /** By qualifier: empty text for the function itself, else an alias. */
  readonly urls: Readonly<Record<string, FunctionUrl>>;
  /** By qualifier, as `urls`; where it has none, `defaultEventInvoke` holds. */
  readonly eventInvoke: Readonly<
    Record<string, EventInvokeSettings & { readonly updatedAtMs: number }>
  >;
  /** By qualifier: empty text for the function itself, else a version or an alias. */
  readonly policies: Readonly<Record<string, FunctionPolicy>>;
  /** Published so far; versions removed are not given again. */
  readonly versionsPublished: number;
}

/** Source: AliasConfiguration. */
export interface AliasRecord {
  readonly tenant: string;
  readonly functionName: string;
  /** 1..128 of `a-z A-Z 0-9 - _`, not only digits. */
  readonly name: string;
  readonly version: string;
  readonly description: string;
  /** Share of invokes, 0..1, of one other version. */
  readonly additionalVersionWeights: Readonly<Record<string, number>>;
  readonly revisionId: string;
}

/** What an invoke may run, looked up in one go. */
export interface InvokedFunction {
  readonly settings: FunctionSettings;
  /** Set where the qualifier is one. */
  readonly alias?: AliasRecord;
  /** What the qualifier can mean: one version, or an alias's two, its own first. */
  readonly versions: readonly FunctionRecord[];
  /** Of the versions that are images, where those are published. */
  readonly images: readonly ImageRecord[];
  /** Reserved by all functions of the tenant together. */
  readonly reservedConcurrencyOfTenant: number;
}

/** An asynchronous invoke that was accepted and is not done. */
export interface QueuedEvent {
  /** The request's id, a UUID. */
  readonly id: string;
  readonly tenant: string;
  readonly functionName: string;
  /** As the caller gave it: a version, an alias, or undefined. */
  readonly qualifier?: string;
  readonly payload: Uint8Array;
  readonly clientContext?: string;
  readonly traceId?: string;
  readonly acceptedAtMs: number;
  /** Not to be tried before. */
  readonly dueAtMs: number;
  /** Begun so far that ended in a function error. */
  readonly failedAttempts: number;
}

/**
 * A server that runs events. Others tell by its beat whether it lives, each by a clock of its own: times of two machines are never
 * compared.
 */
export interface EventRunner {
  /** Fresh for every process. */
  readonly id: string;
  /** Greater with every sign of life. */
  readonly beat: number;
}

/** Part of a list. */
export interface Page<T> {
  readonly items: readonly T[];
  /** The marker of the next page; undefined after the last. */
  readonly nextMarker?: string;
}

export interface PageRequest {
  /** The last item of the page before, which need not be there any longer. */
  readonly marker?: string;
  /** At least 1. */
  readonly itemsMax: number;
}

/** What all functions of a tenant have together. */
export interface FunctionTotals {
  readonly functionCount: number;
  /** Of all versions. */
  readonly codeSizeBytes: number;
  readonly reservedConcurrency: number;
}

/**
 * The part of the catalog that is about functions; each call is one transaction, as the catalog says. Changes name the
 * revision that they were made of, where their caller cares, and throw `ERR_CATALOG_REVISION_CHANGED` where it is no
 * longer the current one. Calls that name a function that is not there throw `ERR_CATALOG_NO_SUCH_FUNCTION`, unless they say
 * otherwise.
 */
export interface FunctionCatalog {
  /** Throws `ERR_CATALOG_FUNCTION_EXISTS`, `ERR_CATALOG_NO_SUCH_IMAGE`. */
  addFunction(record: FunctionRecord, settings: FunctionSettings): Promise<void>;
  /** `version`: default `$LATEST`. */
  findFunction(tenant: string, name: string, version?: string): Promise<FunctionRecord | undefined>;
  findFunctionSettings(tenant: string, name: string): Promise<FunctionSettings | undefined>;
  /** All that an invoke looks up. `qualifier`: as the caller gave it. Undefined where the function, version or alias is not there. */
  findInvoked(
    tenant: string,
    name: string,
    qualifier?: string,
  ): Promise<InvokedFunction | undefined>;
  /** `$LATEST` of each function, in byte order of names; the marker is a name. */
  listFunctions(tenant: string, page: PageRequest): Promise<Page<FunctionRecord>>;
  /** Of all tenants: those whose state is `Pending` or whose update is in progress. For taking up what a killed server left. */
  listUnfinishedFunctions(): Promise<readonly FunctionRecord[]>;
  /** Changes a version in place: `$LATEST`, or the state of a published one. */
  updateFunction(
    of: { readonly tenant: string; readonly name: string; readonly version: string },
    change: (record: FunctionRecord) => FunctionRecord,
    options?: { readonly revisionId?: string },
  ): Promise<FunctionRecord>;
  updateFunctionSettings(
    of: { readonly tenant: string; readonly name: string },
    change: (
      settings: FunctionSettings,
      others: { readonly reservedConcurrency: number },
    ) => FunctionSettings,
  ): Promise<FunctionSettings>;
  functionTotals(tenant: string): Promise<FunctionTotals>;
  /**
   * Keeps what `make` gives for `$LATEST` as the next version; resolves with the last published one, unchanged, where
   * `$LATEST` has not changed since it was made or `isSame` finds no difference. What `make` throws, it throws.
   */
  publishVersion(
    of: { readonly tenant: string; readonly name: string },
    make: (latest: FunctionRecord) => FunctionRecord,
    options: {
      readonly isSame: (made: FunctionRecord, last: FunctionRecord) => boolean;
      readonly revisionId?: string;
    },
  ): Promise<FunctionRecord>;
  /** `$LATEST` first, then in order of numbers; the marker is a version. */
  listVersions(tenant: string, name: string, page: PageRequest): Promise<Page<FunctionRecord>>;
  /**
   * Without a version: the function with its versions, aliases, settings and events. False if there was none. Throws
   * `ERR_CATALOG_VERSION_IN_USE` where an alias names the version.
   */
  removeFunction(tenant: string, name: string, version?: string): Promise<boolean>;

  /**
   * Throws `ERR_CATALOG_ALIAS_EXISTS`, `ERR_CATALOG_NO_SUCH_FUNCTION` (also for a version that is not there, one
   * with a weight too).
   */
  addAlias(alias: AliasRecord): Promise<void>;
  findAlias(tenant: string, functionName: string, name: string): Promise<AliasRecord | undefined>;
  /** Of a version only, where one is given; in byte order of names. */
  listAliases(
    tenant: string,
    functionName: string,
    page: PageRequest & { readonly version?: string },
  ): Promise<Page<AliasRecord>>;
  /** Throws `ERR_CATALOG_NO_SUCH_ALIAS`, and for its versions as `addAlias`. */
  updateAlias(
    of: { readonly tenant: string; readonly functionName: string; readonly name: string },
    change: (alias: AliasRecord) => AliasRecord,
    options?: { readonly revisionId?: string },
  ): Promise<AliasRecord>;
  removeAlias(tenant: string, functionName: string, name: string): Promise<boolean>;

  /** Durable when it resolves. `qualifier` is not looked up. */
  addEvent(event: QueuedEvent): Promise<void>;
  /**
   * Those due by `nowMs` that nobody has claimed but `runnerId`: of each tenant the ones due longest, in that order, at most
   * `ofEachTenantMax`.
   */
  dueEvents(of: {
    readonly runnerId: string;
    readonly nowMs: number;
    readonly ofEachTenantMax: number;
  }): Promise<readonly Pick<QueuedEvent, 'id' | 'tenant'>[]>;
  /**
   * Those of `ids`, in that order, that are the runner's from now on: due by `nowMs`, and claimed by nobody else. A sign of life as
   * well. They stay in the queue, and his, until they are removed or postponed, or he is.
   */
  claimEvents(
    runner: EventRunner,
    of: { readonly ids: readonly string[]; readonly nowMs: number },
  ): Promise<readonly QueuedEvent[]>;
  /** A sign of life; the runner is there again, and `ids` his where nobody else has claimed them, if he was removed meanwhile. */
  beatEventRunner(runner: EventRunner, ids: readonly string[]): Promise<void>;
  listEventRunners(): Promise<readonly EventRunner[]>;
  /** Gives back what he has claimed: so many events. With a beat: only if he has given no sign of life since. */
  removeEventRunner(id: string, beat?: number): Promise<number>;
  /** When the first event falls due that is not due by `afterMs`; undefined where there is none. */
  nextEventDueMs(afterMs: number): Promise<number | undefined>;
  countEvents(tenant: string): Promise<number>;
  /** And gives it back. Does nothing where it is gone, or claimed by somebody else. */
  postponeEvent(
    of: { readonly id: string; readonly runnerId: string },
    to: Pick<QueuedEvent, 'dueAtMs' | 'failedAttempts'>,
  ): Promise<void>;
  /** Does nothing where it is gone, or claimed by somebody else. */
  removeEvent(of: { readonly id: string; readonly runnerId: string }): Promise<void>;
}
