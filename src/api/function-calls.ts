/** What a worker's administrator can do with functions: the calls of `Worker`, and how they are done in this process. */

import { readFile } from 'node:fs/promises';

import { defined, errorMessage, present, untilAborted } from '../base/index.ts';
import type { AliasRecord, Catalog, FunctionRecord, Page } from '../catalog/index.ts';
import type {
  CreateFunctionRequest as FunctionDefinition,
  FunctionCodeRequest,
  FunctionConfigurationRequest,
  FunctionDescription,
  FunctionRef,
  FunctionService,
  InvokeResult,
  StartLimitsSnapshot,
} from '../functions/index.ts';
import { checkTenant } from './check-request.ts';
import { ImageNotFoundError, UnreadableFileError } from './errors.ts';

/** Whose code it is: a published image's id or name, or a zip archive's absolute path. */
export type CodeSource = { readonly image: string } | { readonly zipPath: string };

/** A function of the functions room, its code named as a person names it. */
export type CreateFunctionRequest = Omit<FunctionDefinition, 'code'> & CodeSource;

export interface UpdateFunctionRequest extends FunctionRequest {
  readonly configuration?: FunctionConfigurationRequest;
  readonly code?: CodeSource;
  /** Publishes what comes of it as a version. */
  readonly publish?: boolean;
}

/** Names a function, and with a qualifier a version or an alias of it. */
export interface FunctionRequest extends FunctionRef {}

export interface AliasRequest {
  readonly tenant: string;
  readonly functionName: string;
  readonly name: string;
}

/** What is left out stays as it is; a new alias needs a version. */
export interface SetAliasRequest
  extends AliasRequest, Partial<Omit<AliasRecord, keyof AliasRequest | 'revisionId'>> {}

export interface InvokeFunctionRequest extends FunctionRequest {
  /** JSON text. */
  readonly payload: string;
}

/** `InvokeResult` with the payload as text. */
export interface InvokeReport extends Omit<InvokeResult, 'payload' | 'reads' | 'logTail'> {
  readonly payload: string;
  readonly reads: NonNullable<InvokeResult['reads']>;
}

/** The part of `Worker` that is about functions; errors are those of `FunctionControl` and `FunctionRuns`. */
export interface FunctionCalls {
  /** `ERR_API_IMAGE_NOT_FOUND` where the image is not published. */
  createFunction(request: CreateFunctionRequest): Promise<FunctionRecord>;
  /** Code first, then configuration, where both change. */
  updateFunction(request: UpdateFunctionRequest): Promise<FunctionRecord>;
  findFunction(request: FunctionRequest): Promise<FunctionDescription>;
  /** `$LATEST` of each, in byte order of names. */
  listFunctions(request: { readonly tenant: string }): Promise<readonly FunctionRecord[]>;
  /** `$LATEST` first, then in order of numbers. */
  listFunctionVersions(request: FunctionRequest): Promise<readonly FunctionRecord[]>;
  publishFunction(
    request: FunctionRequest & { readonly description?: string },
  ): Promise<FunctionRecord>;
  /** With a qualifier that version alone. */
  removeFunction(request: FunctionRequest): Promise<void>;

  /** Makes the alias, or changes it if there is one of that name. */
  setFunctionAlias(request: SetAliasRequest): Promise<AliasRecord>;
  /** In byte order of names. */
  listFunctionAliases(request: FunctionRequest): Promise<readonly AliasRecord[]>;
  removeFunctionAlias(request: AliasRequest): Promise<void>;

  invokeFunction(
    request: InvokeFunctionRequest,
    options?: { readonly signal?: AbortSignal },
  ): Promise<InvokeReport>;
  /** Accepted and durable when it resolves. */
  invokeFunctionLater(request: InvokeFunctionRequest): Promise<{ readonly requestId: string }>;
  /** Initialises the version once, so that its image has a start profile. */
  initialiseFunction(request: FunctionRequest): Promise<void>;
  functionLogs(request: FunctionRequest & { readonly maxBytes: number }): Promise<string>;
  /** Cold starts in flight and what was refused. Undefined as long as no call needed functions: starts nothing. */
  startLimits(): Promise<StartLimitsSnapshot | undefined>;
}

export interface FunctionCallOptions {
  readonly catalog: Catalog;
  /** Made on first use; throws what is missing on this machine. */
  readonly functions: () => Promise<FunctionService>;
  readonly startedFunctions: () => Promise<FunctionService | undefined>;
}

export function functionCalls(options: FunctionCallOptions): FunctionCalls {
  const deps: Dependencies = {
    ...options,
    functionsFor: async ({ tenant }) => {
      checkTenant(tenant);
      return await options.functions();
    },
  };
  return { ...managingCalls(deps), ...aliasCalls(deps), ...runningCalls(deps) };
}

interface Dependencies extends FunctionCallOptions {
  /** Throws `ERR_API_BAD_NAME` before anything is made. */
  readonly functionsFor: (of: { readonly tenant: string }) => Promise<FunctionService>;
}

type AliasCalls = Pick<FunctionCalls, Extract<keyof FunctionCalls, `${string}Alias${string}`>>;
type RunningCalls = Pick<
  FunctionCalls,
  'invokeFunction' | 'invokeFunctionLater' | 'initialiseFunction' | 'functionLogs' | 'startLimits'
>;
type ManagingCalls = Omit<FunctionCalls, keyof AliasCalls | keyof RunningCalls>;

function managingCalls(deps: Dependencies): ManagingCalls {
  const { catalog, functionsFor } = deps;
  return {
    createFunction: async (request) => {
      const control = await functionsFor(request);
      const code = await codeRequest(catalog, request);
      return await whenThere(control, (await control.create({ ...request, code })).record);
    },
    updateFunction: async (request) => await updateFunction(deps, request),
    findFunction: async (of) => await (await functionsFor(of)).find(of),
    listFunctions: async ({ tenant }) => {
      checkTenant(tenant);
      return await everyPage((page) => catalog.listFunctions(tenant, page));
    },
    listFunctionVersions: async (of) => {
      const control = await functionsFor(of);
      return await everyPage((page) => control.listVersions(of, page));
    },
    publishFunction: async ({ description, ...of }) => {
      const control = await functionsFor(of);
      return (await control.publishVersion(of, defined({ description }))).record;
    },
    removeFunction: async (of) => await (await functionsFor(of)).remove(of),
  };
}

function aliasCalls({ functionsFor }: Dependencies): AliasCalls {
  return {
    setFunctionAlias: async ({ tenant, functionName, name, ...change }) => {
      const control = await functionsFor({ tenant });
      const of = { tenant, functionName, name };
      const known = await everyPage((page) =>
        control.listAliases({ tenant, name: functionName }, page),
      );
      if (known.some((alias) => alias.name === name)) return await control.updateAlias(of, change);
      const { version = '', description = '', additionalVersionWeights = {} } = change;
      return await control.createAlias({ ...of, version, description, additionalVersionWeights });
    },
    listFunctionAliases: async (of) => {
      const control = await functionsFor(of);
      return await everyPage((page) => control.listAliases(of, page));
    },
    removeFunctionAlias: async (of) => await (await functionsFor(of)).removeAlias(of),
  };
}

function runningCalls({ functionsFor, startedFunctions }: Dependencies): RunningCalls {
  return {
    invokeFunction: async ({ payload, ...of }, { signal } = {}) => {
      const request = { ...of, payload: Buffer.from(payload), countsReads: true };
      const invoking = (await functionsFor(of)).invoke(request);
      const result = await untilAborted(invoking, signal); // as in Lambda, the function runs on
      const { logTail: _unasked, ...report } = result;
      const reads = present(result.reads, 'reads of an invoke that counts them');
      return { ...report, reads, payload: Buffer.from(result.payload).toString('utf8') };
    },
    invokeFunctionLater: async ({ payload, ...of }) => {
      const runs = await functionsFor(of);
      return await runs.invokeLater({ ...of, payload: Buffer.from(payload) });
    },
    initialiseFunction: async (of) => await (await functionsFor(of)).initialise(of),
    functionLogs: async ({ maxBytes, ...of }) => {
      const runs = await functionsFor(of);
      const log = await runs.logs(of.tenant, of.name, maxBytes);
      return Buffer.from(log).toString('utf8');
    },
    startLimits: async () => (await startedFunctions())?.startLimits(),
  };
}

async function updateFunction(
  { catalog, functionsFor }: Dependencies,
  { configuration, code, publish = false, ...of }: UpdateFunctionRequest,
): Promise<FunctionRecord> {
  const control = await functionsFor(of);
  if (code !== undefined) {
    const request = await codeRequest(catalog, { tenant: of.tenant, ...code });
    const isLast = configuration === undefined;
    const recoded = await control.updateCode(of, request, { publish: publish && isLast });
    const record = await whenThere(control, recoded.record);
    if (isLast) return record;
  }
  const after = await control.updateConfiguration(of, configuration ?? {}, { publish });
  return after.record;
}

/** Once its code is, since a command of its own process cannot leave anything to the background. */
async function whenThere(
  control: FunctionService,
  record: FunctionRecord,
): Promise<FunctionRecord> {
  if (record.state !== 'Pending') return record;
  await control.publicationsSettled(record);
  const { tenant, name, version: qualifier } = record;
  return (await control.find({ tenant, name, qualifier })).record;
}

/** Throws `ERR_API_IMAGE_NOT_FOUND`: nothing is fetched for a command that may end before it is there. */
async function codeRequest(
  catalog: Catalog,
  of: { readonly tenant: string } & CodeSource,
): Promise<FunctionCodeRequest> {
  if ('zipPath' in of) return { packageType: 'Zip', zipFile: await readArchive(of.zipPath) };
  const image = await catalog.findImage(of.tenant, of.image);
  if (image === undefined) throw new ImageNotFoundError(of.tenant, of.image);
  return { packageType: 'Image', imageUri: image.manifestId };
}

async function readArchive(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (thrown) {
    throw new UnreadableFileError(path, errorMessage(thrown));
  }
}

const pageSize = 1000;

async function everyPage<T>(
  read: (page: { readonly itemsMax: number; readonly marker?: string }) => Promise<Page<T>>,
): Promise<readonly T[]> {
  const items: T[] = [];
  let marker: string | undefined;
  do {
    const page: Page<T> = await read({ itemsMax: pageSize, ...defined({ marker }) });
    items.push(...page.items);
    marker = page.nextMarker;
  } while (marker !== undefined);
  return items;
}
