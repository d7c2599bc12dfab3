/** `thaw image …` */

import { resolve } from 'node:path';

import type { Command } from 'commander';

import { byteString, byteStringFromPrintable, defined, type ByteString } from '../../base/index.ts';
import type { ImageRecord } from '../../catalog/index.ts';
import type { ConvertResult } from '../../api/index.ts';
import type { ImageFile } from '../../publish/index.ts';
import type { CliContext } from '../context.ts';
import { convertImage } from '../convert-image.ts';
import { compressOption, type ConvertOptions } from '../convert-request.ts';
import { defaultTenant } from '../default-tenant.ts';
import { UsageError } from '../errors.ts';
import { formatImageFile, imageFileJson } from '../file-listing.ts';
import { formatBytes, formatMs, formatTable, formatTime } from '../format.ts';
import { parseInteger } from '../parse-integer.ts';

interface TenantOptions {
  readonly tenant: string;
  readonly json?: boolean;
}

interface MountOptions extends TenantOptions {
  readonly writable?: boolean;
  readonly space?: number;
}

interface PathOptions extends TenantOptions {
  /** The path is written as `image files` prints it. */
  readonly escaped?: boolean;
}

const sourceHelp = `
Sources:
  oci:DIR[:TAG]                          an OCI image layout
  oci-archive:FILE[:TAG]                 the same in a tar archive
  docker-archive:FILE[:TAG]              what "docker save" writes
  docker://HOST[:PORT]/NAME[:TAG|@DIGEST]  a registry; credentials come from the docker config file
`;

const compressHelp =
  'compress chunks before they are encrypted; their sizes then tell of their content';

export function addImageCommands(program: Command, context: CliContext): void {
  const image = program.command('image').description('publish and look after images');
  const add = (usage: string, description: string): Command =>
    image
      .command(usage)
      .description(description)
      .option('--tenant <tenant>', 'whose image', defaultTenant)
      .option('--json', 'print JSON');

  add('convert <source>', 'publish an image; prints its manifest id')
    .option('--name <name>', 'name to list it under (default: the source)')
    .option('--platform <platform>', 'os/arch[/variant] (default: this machine)')
    .addOption(compressOption(compressHelp))
    .option('--prime', 'write new chunks to the zone as well')
    .option('--plain-http', 'talk to the registry without TLS')
    .option('--user <user:password>', 'registry credentials')
    .addHelpText('after', sourceHelp)
    .action((source: string, options: ConvertOptions & TenantOptions) =>
      convert(context, source, options),
    );
  add('ls', 'list images').action((options: TenantOptions) => list(context, options));
  add('inspect <id>', 'show an image and its configuration').action(
    (id: string, options: TenantOptions) => inspect(context, id, options),
  );
  add('check <id>', 'verify every chunk of an image, and the filesystem in it').action(
    (id: string, options: TenantOptions) => check(context, id, options),
  );
  const escaped = ['--escaped', 'PATH is written as "image files" prints it: \\ooo, \\\\'] as const;
  add('files <id> [path]', 'list the files of an image, or those at and below a path of it')
    .option(...escaped)
    .action((id: string, path: string | undefined, options: PathOptions) =>
      files(context, id, path ?? '/', options),
    );
  add('cat <id> <path>', 'write a file of an image to standard output')
    .option(...escaped)
    .action((id: string, path: string, options: PathOptions) => cat(context, id, path, options));
  add('export <id> <file>', 'write the image as a raw ext4 disk').action(
    (id: string, file: string, options: TenantOptions) => exportTo(context, id, file, options),
  );
  add('rm <id>', 'remove an image').action((id: string, options: TenantOptions) =>
    remove(context, id, options),
  );
  add('mount <id> <dir>', 'mount an image; it stays mounted until "image umount"')
    .option('--writable', 'keep writes in a copy-on-write overlay of this mount')
    .option('--space <mib>', 'how much may be added to a writable mount, in MiB', parseInteger)
    .action((id: string, dir: string, options: MountOptions) => mount(context, id, dir, options));
  image
    .command('umount <dir>')
    .description('unmount an image')
    .option('--json', 'print JSON')
    .action((dir: string, options: { readonly json?: boolean }) => unmount(context, dir, options));
}

async function convert(
  context: CliContext,
  source: string,
  options: ConvertOptions & TenantOptions,
): Promise<void> {
  const result = await convertImage(context, source, options);
  context.print(convertJson(result), options.json, () => `${result.image.manifestId}\n`);
}

/** The documented, stable shape of `image convert --json`. */
function convertJson(result: ConvertResult): object {
  const { image, chunks, layers, leftOutXattrs, primed, uploadedBytes, elapsedMs } = result;
  return {
    manifestId: image.manifestId,
    imageDigest: image.imageDigest,
    tenant: image.tenant,
    name: image.name,
    diskSizeBytes: image.diskSizeBytes,
    contentBytes: image.contentBytes,
    fileCount: image.fileCount,
    codec: image.codec,
    storedBytes: image.storedBytes,
    chunks,
    layers,
    leftOutXattrs,
    ...defined({ primed }),
    uploadedBytes,
    elapsedMs: Math.round(elapsedMs),
  };
}

async function list(context: CliContext, options: TenantOptions): Promise<void> {
  const worker = await context.worker();
  const images = await worker.listImages({ tenant: options.tenant });
  context.print(images, options.json, () =>
    formatTable(
      ['ID', 'NAME', 'PLATFORM', 'CONTENT', 'STORED', 'CODEC', 'CHUNKS', 'PUBLISHED'],
      images.map((image) => [
        image.manifestId.slice(0, 12),
        image.name,
        image.platform,
        formatBytes(image.contentBytes),
        formatBytes(image.storedBytes),
        image.codec,
        String(image.chunkCount),
        formatTime(image.createdAtMs),
      ]),
    ),
  );
}

async function inspect(context: CliContext, id: string, options: TenantOptions): Promise<void> {
  const worker = await context.worker();
  const { image, document, chunksByCodec } = await worker.inspectImage({
    id,
    tenant: options.tenant,
  });
  const details = { ...image, chunksByCodec, config: document.config };
  context.print(details, options.json, () =>
    Object.entries(details)
      .map(
        ([key, value]) => `${key}: ${typeof value === 'object' ? JSON.stringify(value) : value}\n`,
      )
      .join(''),
  );
}

async function check(context: CliContext, id: string, options: TenantOptions): Promise<void> {
  const worker = await context.worker();
  const report = await worker.checkImage({ id, tenant: options.tenant }, context.callOptions);
  const isWhole = report.problems.length === 0;
  if (!isWhole) context.cause = 'badImage';
  context.print(report, options.json, () =>
    isWhole
      ? `ok: ${report.chunksChecked} chunks, ${formatBytes(report.bytesChecked)}, ${report.filesWalked} files\n`
      : report.problems.map((problem) => `damaged: ${problem}\n`).join(''),
  );
}

function imagePath(path: string, { escaped }: PathOptions): ByteString {
  return escaped === true ? byteStringFromPrintable(path) : byteString(path);
}

async function files(
  context: CliContext,
  id: string,
  path: string,
  options: PathOptions,
): Promise<void> {
  const worker = await context.worker();
  const { tenant, json } = options;
  const request = { id, tenant, path: imagePath(path, options) };
  const found = worker.listImageFiles(request, context.callOptions);
  const format = (file: ImageFile): string =>
    json === true ? `${JSON.stringify(imageFileJson(file))}\n` : formatImageFile(file);
  await context.printAll(joinLines(found, format));
}

/** Lines together while there are many: a write costs more than a line. */
async function* joinLines<T>(
  items: AsyncIterable<T>,
  format: (item: T) => string,
): AsyncGenerator<string> {
  let text = '';
  for await (const item of items) {
    text += format(item);
    if (text.length < 16_384) continue;
    yield text;
    text = '';
  }
  if (text !== '') yield text;
}

async function cat(
  context: CliContext,
  id: string,
  path: string,
  options: PathOptions,
): Promise<void> {
  const worker = await context.worker();
  const request = { id, tenant: options.tenant, path: imagePath(path, options) };
  await context.printAll(worker.readImageFile(request, context.callOptions));
}

async function exportTo(
  context: CliContext,
  id: string,
  file: string,
  options: TenantOptions,
): Promise<void> {
  const worker = await context.worker();
  const startedMs = performance.now();
  const path = resolve(file);
  const image = await worker.exportImage({ id, tenant: options.tenant, path }, context.callOptions);
  const elapsedMs = Math.round(performance.now() - startedMs);
  const result = {
    manifestId: image.manifestId,
    path,
    diskSizeBytes: image.diskSizeBytes,
    elapsedMs,
  };
  context.print(
    result,
    options.json,
    () => `${path}: ${formatBytes(image.storedBytes)} in ${formatMs(elapsedMs)}\n`,
  );
}

async function remove(context: CliContext, id: string, options: TenantOptions): Promise<void> {
  const worker = await context.worker();
  const image = await worker.removeImage({ id, tenant: options.tenant });
  printRemoved(context, image, options);
}

function printRemoved(context: CliContext, image: ImageRecord, options: TenantOptions): void {
  const { manifestId } = image;
  context.print({ manifestId }, options.json, () => `${manifestId}\n`);
}

async function mount(
  context: CliContext,
  id: string,
  dir: string,
  options: MountOptions,
): Promise<void> {
  const worker = await context.worker();
  const directory = resolve(dir);
  if (options.space !== undefined && options.writable !== true) {
    throw new UsageError('Cannot give a read-only mount --space: add --writable');
  }
  const image = await worker.mountImage({
    id,
    tenant: options.tenant,
    directory,
    writable: options.writable === true,
    ...(options.space === undefined ? {} : { spaceBytes: options.space * 2 ** 20 }),
  });
  const result = { manifestId: image.manifestId, directory, writable: options.writable === true };
  context.print(result, options.json, () => `${directory}\n`);
}

async function unmount(
  context: CliContext,
  dir: string,
  options: { readonly json?: boolean },
): Promise<void> {
  const worker = await context.worker();
  const directory = resolve(dir);
  await worker.unmountImage({ directory });
  context.print({ directory }, options.json, () => `${directory}\n`);
}
