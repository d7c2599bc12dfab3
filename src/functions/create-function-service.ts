/** The function service, put together: rules, catalog, pool, instances and logs. */

import { randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

import {
  present,
  systemClock,
  systemTimers,
  type Clock,
  type Log,
  type Timers,
} from '../base/index.ts';
import type { Catalog, FunctionRecord, ImageRecord } from '../catalog/index.ts';
import type { RootMounts } from '../device/index.ts';
import type { ImageDocument } from '../publish/index.ts';
import type { SandboxFactory } from '../sandbox/index.ts';
import { FunctionNotFoundError, FunctionStoppedError } from './errors.ts';
import { FunctionInstance, type InstanceDependencies } from './function-instance.ts';
import { FunctionLog } from './function-log.ts';
import { functionArn, functionProcess, type FunctionHost } from './function-process.ts';
import { checkFunction, checkNames, checkPayload } from './function-rules.ts';
import type {
  CreateFunctionRequest,
  FunctionService,
  InvokeRequest,
  InvokeResult,
} from './function-service.ts';
import { InstancePool } from './instance-pool.ts';
import { runInvocation } from './invocation.ts';
import { ReadMeter } from './read-meter.ts';
import {
  coldStartLimits,
  StartGate,
  type ColdStartLimits,
  type StartLimitsSnapshot,
} from './start-gate.ts';

export interface FunctionLimits {
  /** Of all functions together, those that are just being ended included. Default 100. */
  readonly instancesMax: number;
  /** Invokes of one function at a time. Default 50. */
  readonly instancesPerFunctionMax: number;
  /** An instance that has served nothing for this long is ended. Default 600,000. */
  readonly idleTimeoutMs: number;
  /**
   * How long a root may take to open, and after that a runtime to ask for its first event, unless
   * the function's timeout is longer. Default 10,000.
   */
  readonly initTimeoutMs: number;
  /** A function's log takes up to twice this. Default 10 MiB. */
  readonly logFileSizeMaxBytes: number;
}

export interface FunctionServiceOptions {
  readonly catalog: Catalog;
  readonly mounts: RootMounts;
  readonly sandboxes: SandboxFactory;
  /**
   * The image's own description, from its manifest. Called for an image's first start; the last few
   * are kept.
   */
  readonly imageDocument: (image: ImageRecord) => Promise<ImageDocument>;
  /** Logs go to `TENANT/NAME.log` below it. */
  readonly logsDir: string;
  readonly log: Log;
  /** Default: region `local`, account `000000000000`. */
  readonly host?: FunctionHost;
  /** Of cold starts: 16, or two a core where that is more; three quarters of these for one tenant. */
  readonly limits?: Partial<FunctionLimits & ColdStartLimits>;
  readonly clock?: Clock;
  readonly timers?: Timers;
  /** A fresh UUID. */
  readonly newId?: () => string;
}

const defaultLimits: FunctionLimits = {
  instancesMax: 100,
  instancesPerFunctionMax: 50,
  idleTimeoutMs: 600_000,
  initTimeoutMs: 10_000,
  logFileSizeMaxBytes: 10 * 1024 * 1024,
};
const defaultHost: FunctionHost = { region: 'local', accountId: '000000000000' };
const documentsKeptMax = 64;

/**
 * Close it when done: it holds mounts and processes. The catalog, mounts and sandboxes stay the
 * caller's.
 */
export function createFunctionService(options: FunctionServiceOptions): FunctionService {
  return new LocalFunctionService(options);
}

interface NamedFunction {
  readonly tenant: string;
  readonly name: string;
}

function functionIdOf(of: NamedFunction): string {
  return `${of.tenant}/${of.name}`;
}

class LocalFunctionService implements FunctionService {
  readonly #catalog: Catalog;
  readonly #logsDir: string;
  readonly #limits: FunctionLimits;
  readonly #deps: InstanceDependencies;
  readonly #starts: StartGate;
  readonly #pool: InstancePool<FunctionInstance>;
  readonly #logs = new Map<string, FunctionLog>();
  readonly #documents = new Map<string, ImageDocument>();
  /** By function: a new one of that name waits until the old one's files are gone. */
  readonly #removals = new Map<string, Promise<void>>();
  #closing: Promise<void> | undefined;

  constructor(options: FunctionServiceOptions) {
    const limits = { ...defaultLimits, ...options.limits };
    const timers = options.timers ?? systemTimers;
    const clock = options.clock ?? systemClock;
    const startLimits = coldStartLimits(options.limits ?? {}, { cores: availableParallelism() });
    this.#catalog = options.catalog;
    this.#logsDir = options.logsDir;
    this.#limits = limits;
    this.#starts = new StartGate(startLimits, clock);
    this.#pool = new InstancePool({ ...limits, timers, starts: this.#starts });
    this.#deps = {
      mounts: options.mounts,
      sandboxes: options.sandboxes,
      imageDocument: (image) => this.#documentOf(image, options.imageDocument),
      host: options.host ?? defaultHost,
      initTimeoutMs: limits.initTimeoutMs,
      clock,
      timers,
      newId: options.newId ?? randomUUID,
      log: options.log,
    };
  }

  async create(request: CreateFunctionRequest): Promise<FunctionRecord> {
    checkFunction(request);
    await this.#removals.get(functionIdOf(request))?.catch(() => {}); // remove() tells its caller
    const nowMs = this.#deps.clock.nowMs();
    const record = { ...request, createdAtMs: nowMs, updatedAtMs: nowMs };
    const image = await this.#catalog.findImage(request.tenant, request.manifestId);
    if (image !== undefined) {
      // Throws now rather than at the first invoke where there is nothing to run.
      const document = await this.#deps.imageDocument(image);
      functionProcess({ record, document, host: this.#deps.host, logStream: '' });
    }
    await this.#catalog.addFunction(record);
    return record;
  }

  async list(tenant: string): Promise<readonly FunctionRecord[]> {
    return await this.#catalog.listFunctions(tenant);
  }

  async remove(tenant: string, name: string): Promise<void> {
    const functionId = functionIdOf({ tenant, name });
    if (!(await this.#catalog.removeFunction(tenant, name))) {
      throw new FunctionNotFoundError(tenant, name);
    }
    const removal = this.#clearAway({ tenant, name });
    this.#removals.set(functionId, removal);
    await removal.finally(() => this.#removals.delete(functionId));
  }

  async invoke(request: InvokeRequest): Promise<InvokeResult> {
    const payload = checkPayload(request.payload);
    const startedMs = this.#deps.clock.monotonicMs();
    const functionId = functionIdOf(request);
    using ticket = this.#pool.enter({ tenant: request.tenant, functionId });
    const record = await this.#findFunction(request);
    const image = present(
      await this.#catalog.findImage(record.tenant, record.manifestId),
      `image of function "${functionId}"`,
    );
    return await this.#pool.use(ticket, {
      revision: JSON.stringify(record),
      create: () => this.#createInstance(record, image),
      serve: async (instance, coldStart) => {
        const meter = new ReadMeter(this.#deps.mounts, image, this.#deps.log);
        await meter.begun();
        const event = this.#eventOf({ ...request, payload });
        const { clock } = this.#deps;
        const done = await runInvocation({ instance, coldStart, record, event, clock });
        const reads = await meter.reads();
        const result: InvokeResult = {
          requestId: event.requestId,
          payload: done.payload,
          ...(done.failed ? { functionError: 'Unhandled' } : {}),
          coldStart: coldStart !== undefined,
          timelineMs: { ...done.timelineMs, total: clock.monotonicMs() - startedMs },
          reads,
        };
        return { value: result, isReusable: done.isReusable };
      },
    });
  }

  async logs(tenant: string, name: string, maxBytes: number): Promise<Uint8Array> {
    await this.#findFunction({ tenant, name });
    return await this.#logOf({ tenant, name }).read(maxBytes);
  }

  startLimits(): StartLimitsSnapshot {
    return this.#starts.snapshot();
  }

  async endIdle(): Promise<void> {
    await this.#pool.endIdle();
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #clearAway(of: NamedFunction): Promise<void> {
    const functionId = functionIdOf(of);
    const log = this.#logOf(of);
    this.#logs.delete(functionId);
    await this.#pool.stop(
      functionId,
      new FunctionStoppedError(`function "${functionId}" was removed`),
    );
    await log.remove();
  }

  async #close(): Promise<void> {
    await this.#pool.close(new FunctionStoppedError('this worker is stopping'));
    await Promise.all([...this.#logs.values()].map((log) => log.flush()));
  }

  async #findFunction(of: NamedFunction): Promise<FunctionRecord> {
    const record = await this.#catalog.findFunction(of.tenant, of.name);
    if (record === undefined) throw new FunctionNotFoundError(of.tenant, of.name);
    return record;
  }

  #createInstance(record: FunctionRecord, image: ImageRecord): FunctionInstance {
    const log = this.#logOf(record);
    return new FunctionInstance(this.#deps, {
      record,
      image,
      writeLines: (lines, isOurs) => log.append(lines, isOurs),
    });
  }

  #eventOf(request: InvokeRequest) {
    const { newId, host } = this.#deps;
    return {
      requestId: newId(),
      payload: request.payload,
      functionArn: functionArn(host, request.name),
      traceId: request.traceId ?? this.#newTraceId(),
      ...(request.clientContext === undefined ? {} : { clientContext: request.clientContext }),
    };
  }

  /** Source: AWS X-Ray developer guide, "Tracing header". */
  #newTraceId(): string {
    const { newId, clock } = this.#deps;
    const epoch = Math.floor(clock.nowMs() / 1000).toString(16);
    const random = newId().replaceAll('-', '').slice(0, 24);
    return `Root=1-${epoch.padStart(8, '0')}-${random};Sampled=0`;
  }

  #logOf(of: NamedFunction): FunctionLog {
    checkNames(of);
    const functionId = functionIdOf(of);
    const known = this.#logs.get(functionId);
    if (known !== undefined) return known;
    const log = new FunctionLog({
      path: join(this.#logsDir, of.tenant, `${of.name}.log`),
      fileSizeMaxBytes: this.#limits.logFileSizeMaxBytes,
      log: this.#deps.log,
    });
    this.#logs.set(functionId, log);
    return log;
  }

  /** Documents never change, as manifests do not; the one used longest ago makes room. */
  async #documentOf(
    image: ImageRecord,
    load: (image: ImageRecord) => Promise<ImageDocument>,
  ): Promise<ImageDocument> {
    const key = `${image.tenant}/${image.rootId}/${image.manifestId}`;
    const document = this.#documents.get(key) ?? (await load(image));
    this.#documents.delete(key);
    this.#documents.set(key, document);
    const [oldest] = this.#documents.keys();
    if (this.#documents.size > documentsKeptMax && oldest !== undefined) {
      this.#documents.delete(oldest);
    }
    return document;
  }
}
