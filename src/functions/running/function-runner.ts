/**
 * The running half of the function service: from an invoke's request through the version that it names and an instance of that to
 * its answer.
 */

import { randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';

import {
  errorMessage,
  InternalError,
  present,
  systemClock,
  systemTimers,
  type Clock,
  type Log,
  type Timers,
} from '../../base/index.ts';
import type { Catalog, FunctionRecord, ImageRecord, QueuedEvent } from '../../catalog/index.ts';
import type { RootMounts } from '../../device/index.ts';
import type { ImageDocument } from '../../publish/index.ts';
import type { Invocation, SandboxFactory } from '../../sandbox/index.ts';
import { wholeAnswer, streamedAnswer, webAnswer, wholeBody, type StreamHead } from './answers.ts';
import {
  FunctionNotFoundError,
  FunctionPayloadTooLargeError,
  FunctionStoppedError,
  FunctionWebError,
} from '../errors.ts';
import { EventQueue, type EventLimits } from './event-queue.ts';
import { defaultLimits, eventLimits, type FunctionLimits } from '../function-limits.ts';
import type { FunctionRef } from '../function-control.ts';
import {
  FunctionInstance,
  type CodeLease,
  type InstanceDependencies,
  type Outcome,
} from './function-instance.ts';
import { FunctionLogs } from '../logs/function-logs.ts';
import { functionArn, functionProcess, type FunctionHost } from './function-process.ts';
import { checkPayload } from '../function-rules.ts';
import type {
  FunctionRuns,
  InvokePhase,
  InvokeRequest,
  InvokeResult,
  StreamedResult,
  WebRequest,
  WebResponse,
} from '../function-runs.ts';
import { ImageDocuments } from './image-documents.ts';
import { InstancePool } from './instance-pool.ts';
import { isRunnerGone, newRunnerId } from './runner-id.ts';
import { runInvocation, type InvocationWork } from './invocation.ts';
import { invokedVersion, type InvokedVersion } from './invoked-version.ts';
import { failurePayload, failureWords } from './lambda-errors.ts';
import { LogTail } from '../logs/log-tail.ts';
import { ReadMeter } from './read-meter.ts';
import {
  coldStartLimits,
  StartGate,
  type ColdStart,
  type ColdStartLimits,
  type StartLimitsSnapshot,
} from './start-gate.ts';
import { brokenOff, streamEnd } from './stream-end.ts';
import { WebServerRuntime } from '../web/web-server-runtime.ts';

export interface FunctionRunnerOptions {
  readonly catalog: Catalog;
  readonly mounts: RootMounts;
  readonly sandboxes: SandboxFactory;
  /**
   * The image's own description, from its manifest. Called for an image's first start; the last few
   * are kept.
   */
  readonly imageDocument: (image: ImageRecord) => Promise<ImageDocument>;
  /** The image that zip functions of this runtime run in. Default: there is none. */
  readonly runtimeImage?: (runtime: string) => Promise<ImageRecord | undefined>;
  /** A zip function's code, unpacked. */
  readonly openCode?: (record: FunctionRecord) => Promise<CodeLease>;
  /** A web server as a runtime. Default: plain HTTP into the sandbox. */
  readonly webRuntime?: InstanceDependencies['webRuntime'];
  /** Logs go to `TENANT/NAME.log` below it. */
  readonly logsDir: string;
  readonly log: Log;
  /** Default: region `local`, account `000000000000` for all. */
  readonly host?: FunctionHost;
  /** Of cold starts: 16, or two a core where that is more; three quarters of these for one tenant. */
  readonly limits?: Partial<FunctionLimits & ColdStartLimits & EventLimits>;
  readonly clock?: Clock;
  readonly timers?: Timers;
  /** A fresh UUID. */
  readonly newId?: () => string;
  /** 0 to 1, exclusive: which of an alias's versions runs. */
  readonly random?: () => number;
}

const defaultHost: FunctionHost = { region: 'local', accountIdOf: () => '000000000000' };
/** Of an asynchronous invoke. Source: Lambda quotas, until October 2025. */
const eventPayloadSizeMaxBytes = 256 * 1024;

interface NamedFunction {
  readonly tenant: string;
  readonly name: string;
}

async function noArchives({ name }: FunctionRecord): Promise<never> {
  throw new InternalError(`Function "${name}" is a zip archive, and this service runs none`);
}

function functionIdOf(of: NamedFunction): string {
  return `${of.tenant}/${of.name}`;
}

/** One invoke to be begun. */
interface Run<T> extends FunctionRef, Pick<InvokeRequest, 'traceId' | 'clientContext'> {
  readonly requestId: string;
  readonly payload: Uint8Array;
  readonly work: InvocationWork<T>;
  readonly tailsLog?: boolean | undefined;
  readonly countsReads?: boolean | undefined;
}

/** One that has been begun: the instance is its own. */
interface Begun<T> {
  readonly record: FunctionRecord;
  /** Rejects with what starting the instance throws, and the reason of a stop. */
  readonly done: Promise<RunDone<T>>;
}

interface RunDone<T> extends Pick<InvokeResult, 'coldStart' | 'logTail' | 'reads'> {
  readonly record: FunctionRecord;
  readonly outcome: Outcome<T>;
  readonly isReusable: boolean;
  readonly leftMs: number;
  readonly timelineMs: Partial<Record<InvokePhase, number>>;
}

/**
 * Close it when done: it holds mounts and processes. The catalog, mounts and sandboxes stay the
 * caller's.
 */
export class FunctionRunner implements FunctionRuns {
  readonly #catalog: Catalog;
  readonly #limits: FunctionLimits;
  readonly #deps: InstanceDependencies;
  readonly #runtimeImage: (runtime: string) => Promise<ImageRecord | undefined>;
  readonly #random: () => number;
  readonly #starts: StartGate;
  readonly #pool: InstancePool<FunctionInstance>;
  readonly #logs: FunctionLogs;
  readonly #events: EventQueue;
  /** By function: a new one of that name waits until the old one's files are gone. */
  readonly #removals = new Map<string, Promise<void>>();
  #closing: Promise<void> | undefined;

  constructor(options: FunctionRunnerOptions) {
    const { catalog, log, logsDir, timers = systemTimers, clock = systemClock } = options;
    const limits = { ...defaultLimits, ...options.limits };
    const startLimits = coldStartLimits(options.limits ?? {}, { cores: availableParallelism() });
    const documents = new ImageDocuments(options.imageDocument);
    if (!options.sandboxes.canFreeze) {
      log.warn('Instances run on between invokes: this kernel has no cgroup freezer');
    }
    this.#catalog = catalog;
    this.#limits = limits;
    this.#random = options.random ?? Math.random;
    this.#runtimeImage = options.runtimeImage ?? (async () => undefined);
    this.#starts = new StartGate(startLimits, clock);
    this.#pool = new InstancePool({ ...limits, timers, starts: this.#starts });
    this.#logs = new FunctionLogs({
      logsDir,
      log,
      fileSizeMaxBytes: limits.logFileSizeMaxBytes,
    });
    this.#deps = {
      mounts: options.mounts,
      sandboxes: options.sandboxes,
      imageDocument: (image) => documents.find(image),
      openCode: options.openCode ?? noArchives,
      webRuntime: options.webRuntime ?? ((of) => new WebServerRuntime(of)),
      host: options.host ?? defaultHost,
      initTimeoutMs: limits.initTimeoutMs,
      clock,
      timers,
      newId: options.newId ?? randomUUID,
      log,
    };
    this.#events = new EventQueue({
      catalog,
      runnerId: newRunnerId(),
      isGone: isRunnerGone,
      run: (event) => this.#runEvent(event),
      refusal: ({ tenant, functionName: name }, max) =>
        this.#starts.refusal(functionIdOf({ tenant, name }), 'events_per_tenant_max', max),
      limits: eventLimits(options.limits ?? {}, limits.instancesMax),
      clock,
      timers,
      log,
    });
  }

  /** What this worker runs at a time. */
  get instancesMax(): number {
    return this.#limits.instancesMax;
  }

  async invoke(request: InvokeRequest): Promise<InvokeResult> {
    const payload = checkPayload(request.payload);
    const requestId = this.#deps.newId();
    const startedMs = this.#deps.clock.monotonicMs();
    const begun = await this.#begin({ ...request, payload, requestId, work: wholeAnswer });
    const { record, outcome, coldStart, timelineMs, logTail, reads } = await begun.done;
    const isFailed = 'failure' in outcome;
    const total = this.#deps.clock.monotonicMs() - startedMs;
    if (coldStart) {
      const { tenant, name } = record;
      this.#deps.log.debug('cold start', { tenant, function: name, total, ...timelineMs });
    }
    return {
      requestId,
      executedVersion: record.version,
      ...(isFailed
        ? { payload: failurePayload(outcome.failure, { ...record, requestId }) }
        : outcome.value),
      ...(isFailed ? { functionError: 'Unhandled' } : {}),
      ...(logTail === undefined ? {} : { logTail }),
      coldStart,
      timelineMs: { ...timelineMs, total },
      ...(reads === undefined ? {} : { reads }),
    };
  }

  async invokeStreaming(request: InvokeRequest): Promise<StreamedResult> {
    const payload = checkPayload(request.payload);
    const requestId = this.#deps.newId();
    const head = Promise.withResolvers<StreamHead>();
    const work = streamedAnswer(head.resolve);
    const { record, done } = await this.#begin({ ...request, payload, requestId, work });
    const ended = done.then((result) => streamEnd({ ...result, requestId }), brokenOff);
    const nothing = done.then(() => ({ body: wholeBody(Buffer.alloc(0)) }));
    const first = await Promise.race([head.promise, nothing]);
    return { ...first, requestId, executedVersion: record.version, ended };
  }

  async fetch(request: WebRequest): Promise<WebResponse> {
    const head = Promise.withResolvers<WebResponse>();
    const { done } = await this.#begin({
      ...request,
      payload: Buffer.from('{}'),
      requestId: this.#deps.newId(),
      work: webAnswer(request, head),
    });
    const nothing = done.then(({ record, outcome }) => {
      if ('value' in outcome) throw new InternalError('A web server answered without a head');
      throw new FunctionWebError(record.name, failureWords(outcome.failure, record));
    });
    return await Promise.race([head.promise, nothing]);
  }

  /** Throws what starting the function from the image would throw for want of a command. */
  async checkStart(record: FunctionRecord, image: ImageRecord): Promise<void> {
    const document = await this.#deps.imageDocument(image);
    functionProcess({ record, document, host: this.#deps.host, logStream: '' });
  }

  async checkInvoke(request: InvokeRequest): Promise<void> {
    checkPayload(request.payload);
    await this.#find(request);
  }

  async invokeLater(request: InvokeRequest): Promise<{ readonly requestId: string }> {
    const { byteLength } = request.payload;
    if (byteLength > eventPayloadSizeMaxBytes) {
      throw new FunctionPayloadTooLargeError(byteLength, eventPayloadSizeMaxBytes);
    }
    const payload = checkPayload(request.payload);
    await this.#find(request);
    const requestId = this.#deps.newId();
    const { tenant, name, qualifier, traceId, clientContext } = request;
    const nowMs = this.#deps.clock.nowMs();
    await this.#events.add({
      id: requestId,
      tenant,
      functionName: name,
      payload,
      acceptedAtMs: nowMs,
      dueAtMs: nowMs,
      failedAttempts: 0,
      ...(qualifier === undefined ? {} : { qualifier }),
      ...(traceId === undefined ? {} : { traceId }),
      ...(clientContext === undefined ? {} : { clientContext }),
    });
    return { requestId };
  }

  takeUpEvents(): void {
    this.#events.start();
  }

  /**
   * Initialises a new instance of the version, without an invoke, and ends it: the image has a start profile then. A
   * failure of the function is in its log. Throws as `invoke`.
   */
  async initialise(of: FunctionRef): Promise<void> {
    const ticket = this.#pool.enter({ ...of, functionId: functionIdOf(of) });
    const { version, image } = await this.#findFor(ticket, of);
    await this.#pool.use(ticket, {
      ...this.#serving(version, image),
      isAlwaysCold: true,
      serve: async (instance, coldStart) => {
        using _inFlight = coldStart;
        const { failure } = await instance.start();
        if (failure === undefined) await this.#deps.mounts.startEnded(image);
        return { value: undefined, rested: Promise.resolve(false) };
      },
    });
  }

  async logs(tenant: string, name: string, maxBytes: number): Promise<Uint8Array> {
    if ((await this.#catalog.findFunctionSettings(tenant, name)) === undefined) {
      throw new FunctionNotFoundError(tenant, name);
    }
    return await this.#logs.of({ tenant, name }).read(maxBytes);
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

  /**
   * After a function or one version of it was removed from the catalog: ends its invokes (`ERR_FUNCTION_STOPPED`) and instances, and
   * with the function deletes its logs.
   */
  async clearAway(of: NamedFunction & { readonly version?: string }): Promise<void> {
    const functionId = functionIdOf(of);
    const removal = this.#clearAway(functionId, of);
    this.#removals.set(functionId, removal);
    await removal.finally(() => this.#removals.delete(functionId));
  }

  /** Resolves when nothing is left of an older function of that name. */
  async cleared(of: NamedFunction): Promise<void> {
    await this.#removals.get(functionIdOf(of))?.catch(() => {}); // clearAway() tells its caller
  }

  async #clearAway(
    functionId: string,
    of: NamedFunction & { readonly version?: string },
  ): Promise<void> {
    const { version } = of;
    const log = version === undefined ? this.#logs.takeOut(of) : undefined;
    const what = version === undefined ? functionId : `${functionId}:${version}`;
    await this.#pool.stop(
      { functionId, ...(version === undefined ? {} : { version }) },
      new FunctionStoppedError(`function "${what}" was removed`),
    );
    await log?.remove();
  }

  async #close(): Promise<void> {
    const eventsEnded = this.#events.close();
    await this.#pool.close(new FunctionStoppedError('this worker is stopping'));
    await eventsEnded;
    await this.#logs.flush();
  }

  async #runEvent(event: QueuedEvent): Promise<{ readonly isFailed: boolean }> {
    const { id, functionName, ...of } = event;
    const run = { ...of, name: functionName, requestId: id, work: wholeAnswer };
    const { done } = await this.#begin(run);
    return { isFailed: 'failure' in (await done).outcome };
  }

  /** Resolves once an instance is its own. Throws as `invoke` until then. */
  async #begin<T>(run: Run<T>): Promise<Begun<T>> {
    const { clock } = this.#deps;
    const startedMs = clock.monotonicMs();
    const ticket = this.#pool.enter({ ...run, functionId: functionIdOf(run) });
    const { version, image } = await this.#findFor(ticket, run);
    const { record } = version;
    return await this.#pool.use(ticket, {
      ...this.#serving(version, image),
      serve: async (instance, coldStart) => {
        const place = clock.monotonicMs() - startedMs;
        const done = this.#run({ ...run, record, image, instance, coldStart, place });
        const rested = done.then(
          ({ isReusable, leftMs }) => (isReusable ? instance.rest(leftMs) : false),
          () => false,
        );
        return { value: { record, done }, rested };
      },
    });
  }

  async #run<T>(
    on: Run<T> & {
      readonly record: FunctionRecord;
      readonly image: ImageRecord;
      readonly instance: FunctionInstance;
      readonly coldStart: ColdStart | undefined;
      readonly place: number;
    },
  ): Promise<RunDone<T>> {
    using coldStart = on.coldStart;
    const { clock, mounts, log } = this.#deps;
    const { image, instance, record } = on;
    const meter = on.countsReads === true ? new ReadMeter(mounts, image, log) : undefined;
    await meter?.begun();
    const tail = on.tailsLog === true ? new LogTail() : undefined;
    instance.tail = tail;
    const event = this.#eventOf(on);
    const done = await runInvocation({ instance, coldStart, record, event, clock }, on.work);
    instance.tail = undefined;
    if (coldStart !== undefined && !('failure' in done.outcome)) this.#tellStartEnded(image);
    const reads = await meter?.reads();
    return {
      ...done,
      record,
      coldStart: coldStart !== undefined,
      timelineMs: { place: on.place, ...done.timelineMs },
      ...(tail === undefined ? {} : { logTail: tail.bytes() }),
      ...(reads === undefined ? {} : { reads }),
    };
  }

  /** Those that wait for a profile of the start need not be waited for. */
  #tellStartEnded(image: ImageRecord): void {
    this.#deps.mounts.startEnded(image).catch((thrown: unknown) => {
      this.#deps.log.warn('Cannot end the record of a start', {
        image: image.manifestId,
        error: errorMessage(thrown),
      });
    });
  }

  async #find(of: FunctionRef): Promise<{ version: InvokedVersion; image: ImageRecord }> {
    const { tenant, name, qualifier } = of;
    const found = await this.#catalog.findInvoked(tenant, name, qualifier);
    if (found === undefined) throw new FunctionNotFoundError(tenant, name, qualifier);
    const { instancesMax } = this.#limits;
    const version = invokedVersion(found, { instancesMax, random: this.#random });
    const { code } = version.record;
    const image =
      code.packageType === 'Zip' ? await this.#runtimeImage(code.runtime) : version.image;
    return { version, image: present(image, `image of function "${functionIdOf(of)}"`) };
  }

  /** Disposes of the ticket where there is nothing to be run. */
  async #findFor(
    ticket: Disposable,
    of: FunctionRef,
  ): Promise<{ version: InvokedVersion; image: ImageRecord }> {
    using waiting = new DisposableStack();
    waiting.use(ticket);
    const found = await this.#find(of);
    waiting.move();
    return found;
  }

  #serving({ record, concurrency }: InvokedVersion, image: ImageRecord) {
    return {
      version: record.version,
      revision: `${record.revisionId} ${image.manifestId}`,
      concurrency,
      create: () => {
        const log = this.#logs.of(record);
        const writeLines = (lines: Uint8Array, isOurs?: boolean) => log.append(lines, isOurs);
        return new FunctionInstance(this.#deps, { record, image, writeLines });
      },
    };
  }

  #eventOf(run: Omit<Run<unknown>, 'work'>): Omit<Invocation, 'deadlineMs'> {
    const { requestId, payload, traceId, clientContext } = run;
    return {
      requestId,
      payload,
      functionArn: functionArn(this.#deps.host, run),
      traceId: traceId ?? this.#newTraceId(),
      ...(clientContext === undefined ? {} : { clientContext }),
    };
  }

  /** Source: AWS X-Ray developer guide, "Tracing header". */
  #newTraceId(): string {
    const { newId, clock } = this.#deps;
    const epoch = Math.floor(clock.nowMs() / 1000).toString(16);
    const random = newId().replaceAll('-', '').slice(0, 24);
    return `Root=1-${epoch.padStart(8, '0')}-${random};Sampled=0`;
  }
}
