/**
 * A function service on a simulated worker, with a real catalog and real log files, and two images.
 */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createLog } from '../../base/index.ts';
import {
  openCatalog,
  type Catalog,
  type FunctionRecord,
  type ImageRecord,
} from '../../catalog/index.ts';
import { imageRecord } from '../../catalog/testing/records.ts';
import type { ImageDocument } from '../../publish/index.ts';
import { createFunctionService, type FunctionServiceOptions } from '../create-function-service.ts';
import type { CreateFunctionRequest } from '../function-control.ts';
import type { InvokeRequest, InvokeResult } from '../function-runs.ts';
import type { FunctionService } from '../function-service.ts';
import { SimulatedWorker, type Program } from './simulated-worker.ts';
import { VirtualTime } from '../../base/testing/virtual-time.ts';

export interface ServiceFixtureOptions {
  /** By the name of the function that runs it. */
  readonly program: (functionName: string) => Program;
  readonly document?: Partial<ImageDocument['config']>;
  readonly service?: Partial<FunctionServiceOptions>;
  /** Where the catalog and the logs are, the caller's to remove. Default: a new one. */
  readonly directory?: string;
}

export const manifestIds = ['a'.repeat(64), 'b'.repeat(64)] as const;

/** As published for a tenant. */
export function imageOf(manifestId: string, tenant = 'default'): ImageRecord {
  return imageRecord({ manifestId, tenant, name: 'image', imageDigest: `sha256:${manifestId}` });
}

function documentOf(config: Partial<ImageDocument['config']>): ImageDocument {
  return {
    reference: 'oci:image',
    imageDigest: 'sha256:0',
    platform: 'linux/amd64',
    fileCount: 1,
    contentBytes: 1,
    config: {
      entrypoint: ['/bin/runtime'],
      cmd: ['app.handler'],
      env: ['FROM_IMAGE=1', 'PATH=/image/bin'],
      workingDir: '/srv',
      user: 'app',
      labels: {},
      stopSignal: 'SIGTERM',
      ...config,
    },
  };
}

/** What is created: by default `hello`, of the first image. */
export type FunctionFields = Partial<Omit<CreateFunctionRequest, 'code'>> & {
  readonly manifestId?: string;
};

export interface ServiceFixture extends AsyncDisposable {
  readonly time: VirtualTime;
  readonly worker: SimulatedWorker;
  readonly catalog: Catalog;
  readonly service: FunctionService;
  readonly directory: string;
  /** What the service logged for its administrator. */
  readonly warnings: readonly string[];
  create(fields?: FunctionFields): Promise<FunctionRecord>;
  /** Invokes, and lets time pass until it is done. */
  invoke(payload?: unknown, name?: string): Promise<InvokeResult>;
  /** Invokes; time stands still. */
  start(payload?: unknown, name?: string, more?: Partial<InvokeRequest>): Promise<InvokeResult>;
  logText(name?: string): Promise<string>;
  /** Another service over the same catalog, for when `service` is closed; the caller's to close. */
  open(): FunctionService;
}

function uuids(): () => string {
  let count = 0;
  return () => {
    count += 1;
    return `00000000-0000-4000-8000-${String(count).padStart(12, '0')}`;
  };
}

export async function openServiceFixture(options: ServiceFixtureOptions): Promise<ServiceFixture> {
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'thaw-functions-')));
  const time = new VirtualTime();
  const worker = new SimulatedWorker(time, (spec) =>
    options.program(spec.env['AWS_LAMBDA_FUNCTION_NAME'] ?? ''),
  );
  const catalog = await openCatalog(join(directory, 'catalog.db'));
  for (const manifestId of manifestIds) await catalog.addImage(imageOf(manifestId));
  const warnings: string[] = [];
  const newId = uuids();
  const open = (): FunctionService =>
    createFunctionService({
      catalog,
      mounts: worker.mounts,
      sandboxes: worker.sandboxes,
      imageDocument: async () => documentOf(options.document ?? {}),
      logsDir: join(directory, 'logs'),
      log: createLog({ level: 'warn', write: (line) => warnings.push(line) }),
      clock: time,
      timers: time,
      newId,
      ...options.service,
    });
  const service = open();
  const start = (payload: unknown = {}, name = 'hello', more: Partial<InvokeRequest> = {}) =>
    service.invoke({
      tenant: 'default',
      name,
      payload: Buffer.from(JSON.stringify(payload)),
      countsReads: true,
      ...more,
    });
  return {
    time,
    worker,
    catalog,
    service,
    directory,
    warnings,
    start,
    open,
    create: async ({ manifestId = manifestIds[0], ...fields } = {}) => {
      const code = { packageType: 'Image', imageUri: manifestId } as const;
      return (await service.create({ ...functionFields, code, ...fields })).record;
    },
    invoke: (payload, name) => time.until(start(payload, name)),
    logText: async (name = 'hello') =>
      Buffer.from(await service.logs('default', name, 1_000_000)).toString(),
    [Symbol.asyncDispose]: async () => {
      await time.until(service.close());
      await catalog[Symbol.asyncDispose]();
      if (options.directory === undefined) await rm(directory, { recursive: true, force: true });
    },
  };
}

const functionFields = { name: 'hello', tenant: 'default', memoryMb: 1769 } as const;

/** The payload of a result, parsed. */
export function parsed(result: InvokeResult): unknown {
  return JSON.parse(Buffer.from(result.payload).toString());
}
