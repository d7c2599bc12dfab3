/**
 * The functions' images as eStargz, optimised for their start and not: layer by layer, so that what apps share is converted once.
 * Which files a start reads, and in which order, `ctr-remote images optimize` records; the layers are made by its library.
 */

import { existsSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { runCommand } from '../../src/base/index.ts';
import { OciLayoutWriter, type WrittenLayer } from '../../test/support/oci-layout.ts';
import type { App } from './apps.ts';
import type { Containerd } from './containerd.ts';
import { FirstInvocation } from './first-invocation.ts';
import {
  keyOf,
  layoutDirectory,
  once,
  timeoutMs,
  workDirectory,
  type AppImage,
} from './make-images.ts';
import { stargzPrograms } from './stargz-programs.ts';

export type Form = 'lazy' | 'optimised';

/** Paths of the files that a start reads, in order, by the layer that they are in, the lowest first. */
export type StartRecord = readonly (readonly string[])[];

interface EstargzLayer extends WrittenLayer {
  readonly annotations: Readonly<Record<string, string>>;
}

/** How long files are watched after the program's start, and how long it has to answer: the imports of 250 MB take many seconds, on a busy machine. */
const watchSeconds = 60;
const recordMaxMs = 120_000;

/**
 * Records a start of the image that containerd can pull as `reference`. Another version of the app's own few files, in the highest layer,
 * makes no other record.
 */
export async function recordStart(
  { app, layers }: AppImage,
  reference: string,
  containerd: Containerd,
): Promise<StartRecord> {
  const lower = layers.slice(0, -1).map(({ digest }) => digest);
  return await once(`record-${app.id}`, keyOf(JSON.stringify(app), ...lower), async () => {
    await containerd.pull(reference, 'overlayfs');
    await using work = await workDirectory();
    const log = join(work.path, 'record');
    await using invocation = await FirstInvocation.open();
    const ending = new AbortController();
    const env = ['--env', `AWS_LAMBDA_RUNTIME_API=${invocation.address}`];
    const flags = ['--oci', '--net-host', '--period', `${watchSeconds}`, '--record-out', log];
    const target = `${reference}-recorded`;
    // Once the record is there, it would convert all layers of this image.
    const optimizing = containerd
      .remote(['images', 'optimize', ...flags, ...env, reference, target], ending.signal)
      .catch(() => {});
    const ended = optimizing.then(() => {
      throw new Error(`"${app.id}" did not answer within ${watchSeconds} s of its start`);
    });
    await Promise.race([invocation.times, ended]);
    await untilThere(log);
    ending.abort();
    await optimizing;
    await containerd.forget(target);
    await containerd.forget(reference);
    return pathsByLayer(await readFile(log, 'utf8'), layers.length);
  });
}

async function untilThere(path: string): Promise<void> {
  const deadlineMs = performance.now() + recordMaxMs;
  while (!existsSync(path)) {
    if (performance.now() > deadlineMs) throw new Error('No record of the start came about');
    await delay(50);
  }
  await delay(500); // it is written at once, and small
}

function pathsByLayer(log: string, layerCount: number): StartRecord {
  const found = Array.from({ length: layerCount }, () => new Set<string>());
  for (const line of log.split('\n').filter((text) => text !== '')) {
    const entry = JSON.parse(line) as { readonly path: string; readonly layerIndex: number };
    found[entry.layerIndex]?.add(entry.path);
  }
  return found.map((paths) => [...paths]);
}

async function estargzLayer(
  { digest }: WrittenLayer,
  prioritized: readonly string[],
): Promise<EstargzLayer> {
  const isLazy = prioritized.length === 0;
  const name = `estargz${isLazy ? '' : '-optimised'}`;
  return await once(name, keyOf(digest, ...prioritized), async () => {
    const { convert } = await stargzPrograms();
    await using work = await workDirectory();
    const to = join(work.path, 'layer');
    const args = [blobPath(digest), to];
    if (!isLazy) {
      const list = join(work.path, 'files');
      await writeFile(list, prioritized.join('\n'));
      args.push(list);
    }
    const { stdout } = await runCommand(convert, args, { timeoutMs });
    const layer = JSON.parse(stdout) as EstargzLayer;
    await rename(to, blobPath(layer.digest));
    return layer;
  });
}

function blobPath(digest: string): string {
  return join(layoutDirectory, 'blobs', digest.replace(':', '/'));
}

/** The image with all layers converted; without a record, none of their files comes first. Its source and digest. */
export async function estargzImage(
  { app, layers }: AppImage,
  form: Form,
  record: StartRecord = [],
): Promise<{ readonly source: string; readonly digest: string }> {
  const converted: EstargzLayer[] = [];
  for (const [at, layer] of layers.entries()) {
    converted.push(await estargzLayer(layer, record[at] ?? []));
  }
  const layout = await OciLayoutWriter.open(layoutDirectory);
  const config = await layout.addDocument(
    configOf(app, converted),
    'application/vnd.oci.image.config.v1+json',
  );
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const listed = converted.map(({ digest, size, annotations, mediaType: type }) => {
    return { mediaType: type, digest, size, annotations };
  });
  const manifest = { schemaVersion: 2, mediaType, config, layers: listed };
  const descriptor = await layout.addDocument(manifest, mediaType);
  const tag = `${app.id}-${form}`;
  await layout.tag(descriptor, tag);
  return { source: `oci:${layoutDirectory}:${tag}`, digest: descriptor.digest };
}

function configOf({ config }: App, layers: readonly EstargzLayer[]): object {
  const rootfs = { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) };
  return { created: '1970-01-01T00:00:00Z', architecture: 'amd64', os: 'linux', config, rootfs };
}
