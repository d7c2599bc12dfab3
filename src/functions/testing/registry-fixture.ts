/** FunctionControl over a real catalog, with a publisher that is told when to end, and books on what was cleared away. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createLog } from '../../base/index.ts';
import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { openCatalog, type Catalog, type ImageRecord } from '../../catalog/index.ts';
import { imageRecord, manifestIdOf } from '../../catalog/testing/records.ts';
import type { CodeArchives } from '../../archive/index.ts';
import type { RuntimeImages } from '../../runtimes/index.ts';
import { CodePublications } from '../control/code-publications.ts';
import { FunctionNoCommandError } from '../errors.ts';
import type { CodeDependencies } from '../control/function-code.ts';
import type { CreateFunctionRequest, FunctionControl } from '../function-control.ts';
import { createFunctionRegistry } from '../control/function-registry.ts';

/** One publishing that is under way. */
export interface Publishing {
  readonly tenant: string;
  readonly imageUri: string;
  readonly signal: AbortSignal;
  /** Adds the image to the catalog, and ends. */
  succeed(fields?: Partial<ImageRecord>): Promise<void>;
  fail(thrown: unknown): void;
}

export interface RegistryFixture extends AsyncDisposable {
  readonly catalog: Catalog;
  readonly control: FunctionControl;
  readonly publications: CodePublications;
  readonly time: VirtualTime;
  /** Under way, oldest first. */
  readonly publishing: Publishing[];
  /** Archives in the store. */
  readonly archives: Set<string>;
  /** What `clearAway` was called with, as `TENANT/NAME[:VERSION]`. */
  readonly cleared: string[];
  /** Runtimes that have their image. */
  readonly runtimes: Set<string>;
  readonly warnings: readonly string[];
  /** Thrown, one after the other, instead of looking whether a function could be started. */
  readonly startFailures: Error[];
  /** Images whose name is in it have nothing to run. */
  readonly withoutCommand: Set<string>;
  create(fields?: Partial<CreateFunctionRequest>): ReturnType<FunctionControl['create']>;
  /** As after a kill: another server on the same catalog. */
  restart(): Promise<void>;
}

export const concurrencyMax = 100;
export const imageUri = 'registry.example/app:1';

function fakeArchives(stored: Set<string>): CodeArchives {
  const facts = (zip: Uint8Array) => ({
    codeSha256: Buffer.from(zip).toString('base64'),
    codeSizeBytes: zip.byteLength,
    unpackedBytes: zip.byteLength,
  });
  let count = 0;
  return {
    check: async (zip) => facts(zip),
    accept: async (_tenant, zip) => {
      count += 1;
      const archiveId = manifestIdOf(count, 'a');
      stored.add(archiveId);
      return { ...facts(zip), archiveId, rootId: 'r1' };
    },
    unpack: () => Promise.reject(new Error('nothing is run here')),
    read: () => Promise.reject(new Error('nothing is read here')),
    remove: async ({ archiveId }) => {
      stored.delete(archiveId);
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

function fakeRuntimes(made: Set<string>): RuntimeImages {
  const imageOf = (runtime: string) =>
    imageRecord({ tenant: 'thaw-runtimes', name: runtime, manifestId: manifestIdOf(1, 'e') });
  const ensure = async (runtime: string) => {
    made.add(runtime);
    return imageOf(runtime);
  };
  return {
    names: async () => ['nodejs24.x', 'provided'],
    find: async (runtime) => (made.has(runtime) ? imageOf(runtime) : undefined),
    ensure,
    build: ensure,
    refresh: async () => {},
  };
}

function ids(): () => string {
  let count = 0;
  return () => {
    count += 1;
    return `00000000-0000-4000-8000-${String(count).padStart(12, '0')}`;
  };
}

export async function openRegistryFixture(
  options: Pick<CodeDependencies, 'codeStorageMaxBytes'> = {},
): Promise<RegistryFixture> {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-registry-'));
  const catalog = await openCatalog(join(directory, 'catalog.db'));
  await catalog.addImage(imageRecord({ name: 'app', reference: 'oci:app' }));
  const time = new VirtualTime();
  const publishing: Publishing[] = [];
  const archives = new Set<string>();
  const runtimes = new Set<string>();
  const withoutCommand = new Set<string>();
  const cleared: string[] = [];
  const startFailures: Error[] = [];
  const warnings: string[] = [];
  const shared = {
    catalog,
    images: {
      isReference: (uri: string) => uri.startsWith('registry.example/'),
      publish: (of: Pick<Publishing, 'tenant' | 'imageUri' | 'signal'>) =>
        startPublishing(catalog, publishing, of),
    },
    archives: fakeArchives(archives),
    runtimes: fakeRuntimes(runtimes),
    ...options,
    checkStart: async (
      { name, command }: { name: string; command?: readonly string[] },
      image: ImageRecord,
    ) => {
      const failure = startFailures.shift();
      if (failure !== undefined) throw failure;
      if (withoutCommand.has(image.name) && command === undefined)
        throw new FunctionNoCommandError(name);
    },
    clock: time,
    timers: time,
    newId: ids(),
    log: createLog({ level: 'warn', write: (line) => warnings.push(line) }),
  };
  const running = {
    clearAway: async (of: { tenant: string; name: string; version?: string }) => {
      cleared.push(`${of.tenant}/${of.name}${of.version === undefined ? '' : `:${of.version}`}`);
    },
    cleared: async () => {},
  };
  const make = () => {
    const publications = new CodePublications(shared);
    const deps = { ...shared, publications, running, concurrencyMax };
    return { publications, control: createFunctionRegistry(deps) };
  };
  let made = make();
  return {
    catalog,
    time,
    publishing,
    archives,
    cleared,
    runtimes,
    warnings,
    withoutCommand,
    startFailures,
    get control() {
      return made.control;
    },
    get publications() {
      return made.publications;
    },
    create: (fields = {}) => {
      const code = { packageType: 'Image', imageUri: 'app' } as const;
      return made.control.create({ tenant: 'default', name: 'hello', code, ...fields });
    },
    restart: async () => {
      publishing.length = 0; // a killed server tells nobody that it has ended
      made = make();
      await made.publications.resume();
    },
    [Symbol.asyncDispose]: async () => {
      await made.publications.close();
      await catalog[Symbol.asyncDispose]();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function startPublishing(
  catalog: Catalog,
  publishing: Publishing[],
  of: Pick<Publishing, 'tenant' | 'imageUri' | 'signal'>,
): Promise<ImageRecord> {
  const ended = Promise.withResolvers<ImageRecord>();
  const one: Publishing = {
    ...of,
    succeed: async (fields = {}) => {
      const image = imageRecord({ tenant: of.tenant, manifestId: manifestIdOf(7), ...fields });
      ended.resolve(await catalog.addImage(image));
    },
    fail: (thrown) => ended.reject(thrown),
  };
  publishing.push(one);
  of.signal.addEventListener('abort', () => ended.reject(of.signal.reason as Error));
  return ended.promise.finally(() => {
    const at = publishing.indexOf(one);
    if (at >= 0) publishing.splice(at, 1);
  });
}
