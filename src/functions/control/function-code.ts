/**
 * From the code that somebody asks for to what the catalog keeps of it: published images by id or name, images of
 * registries, which are published for the tenant first, and zip archives. Never a file of this machine.
 */

import type { CodeArchives } from '../../archive/index.ts';
import type { Catalog, FunctionCode, FunctionRecord, ImageRecord } from '../../catalog/index.ts';
import type { RuntimeImages } from '../../runtimes/index.ts';
import {
  FunctionBadCodeError,
  FunctionBadConfigError,
  FunctionCodeStorageError,
} from '../errors.ts';
import type { FunctionCodeRequest } from '../function-control.ts';

/** Publishes what registries have. */
export interface ImagePublisher {
  /** Whether the text names an image of a registry, its host given. */
  isReference(imageUri: string): boolean;
  /** Throws what publishing throws. */
  publish(of: {
    readonly tenant: string;
    readonly imageUri: string;
    readonly signal: AbortSignal;
  }): Promise<ImageRecord>;
}

export interface CodeDependencies {
  readonly catalog: Catalog;
  /** Without it functions start from published images only. */
  readonly images?: ImagePublisher;
  /** Without both there are no zip functions. */
  readonly archives?: CodeArchives;
  readonly runtimes?: RuntimeImages;
  /** Of all archives of a tenant, by versions. Lambda's and the default: 75 GiB. */
  readonly codeStorageMaxBytes?: number;
}

/** Source: AWS Lambda developer guide, "Lambda quotas", "Uploaded functions". */
const codeStorageMaxDefaultBytes = 75 * 2 ** 30;

/** The fields of a record that are its code's. */
export type CodeFields = Pick<FunctionRecord, 'code' | 'codeSha256' | 'codeSizeBytes'>;

export interface ResolvedCode extends CodeFields {
  /** What instances start from; undefined while that has to be published. */
  readonly image: ImageRecord | undefined;
}

/** As it is said of images: the digest without its algorithm. */
export function imageSha256(image: ImageRecord): string {
  return image.imageDigest.replace(/^sha256:/, '');
}

interface CodeRequest {
  readonly tenant: string;
  readonly name: string;
  readonly code: FunctionCodeRequest;
  /** Of a zip archive. */
  readonly runtime?: string | undefined;
  readonly handler?: string | undefined;
  /** Keeps nothing: the code that comes back runs nowhere. */
  readonly dryRun?: boolean | undefined;
}

/** Throws `ERR_FUNCTION_BAD_CODE`, `ERR_FUNCTION_BAD_CONFIG`, `ERR_FUNCTION_CODE_STORAGE`, `ERR_CATALOG_AMBIGUOUS`, `ERR_ARCHIVE_*`, `ERR_STORE_*`, `ERR_KEYS_*`. */
export async function resolveCode(
  deps: CodeDependencies,
  request: CodeRequest,
): Promise<ResolvedCode> {
  const { code } = request;
  return code.packageType === 'Image'
    ? await resolveImage(deps, { ...request, imageUri: code.imageUri })
    : await resolveArchive(deps, { ...request, zipFile: code.zipFile });
}

async function resolveImage(
  deps: CodeDependencies,
  request: CodeRequest & { readonly imageUri: string },
): Promise<ResolvedCode> {
  const { tenant, name, imageUri, runtime, handler } = request;
  if (runtime !== undefined || handler !== undefined) {
    throw new FunctionBadConfigError(
      name,
      'an image has its own runtime and handler; leave them out',
    );
  }
  const image = await deps.catalog.findImage(tenant, imageUri);
  const isReference = deps.images?.isReference(imageUri) ?? false;
  // A tag may stand for another image by now, so a name that is only where an image came from is asked for again.
  if (image !== undefined && !(isReference && image.name === image.reference)) {
    const { manifestId } = image;
    const code: FunctionCode = { packageType: 'Image', imageUri, manifestId };
    return { code, codeSha256: imageSha256(image), codeSizeBytes: 0, image };
  }
  if (!isReference) {
    throw new FunctionBadCodeError(
      name,
      `"${imageUri.slice(0, 500)}" is neither a published image nor one of a registry; publish it, or give HOST/NAME:TAG`,
    );
  }
  const code: FunctionCode = { packageType: 'Image', imageUri };
  return { code, codeSha256: '', codeSizeBytes: 0, image: undefined };
}

async function resolveArchive(
  deps: CodeDependencies,
  request: CodeRequest & { readonly zipFile: Uint8Array },
): Promise<ResolvedCode> {
  const { tenant, name, runtime, handler, zipFile } = request;
  const { archives, runtimes } = deps;
  if (archives === undefined || runtimes === undefined) {
    throw new FunctionBadCodeError(name, 'this worker takes images only');
  }
  if (runtime === undefined || handler === undefined) {
    throw new FunctionBadConfigError(name, 'a zip archive needs a runtime and a handler');
  }
  await checkRuntime(runtimes, { name, runtime });
  await checkStorage(deps, { tenant, name, addedBytes: zipFile.byteLength });
  const stored =
    request.dryRun === true
      ? { ...(await archives.check(zipFile)), archiveId: '', rootId: '' }
      : await archives.accept(tenant, zipFile);
  const { archiveId, rootId, codeSha256, codeSizeBytes } = stored;
  return {
    code: { packageType: 'Zip', runtime, handler, archiveId, rootId },
    codeSha256,
    codeSizeBytes,
    image: await runtimes.find(runtime),
  };
}

/** What a tenant's archives may take, as Lambda counts them: those of each version, the same one again as well. */
async function checkStorage(
  { catalog, codeStorageMaxBytes = codeStorageMaxDefaultBytes }: CodeDependencies,
  of: { readonly tenant: string; readonly name: string; readonly addedBytes: number },
): Promise<void> {
  const { codeSizeBytes } = await catalog.functionTotals(of.tenant);
  if (codeSizeBytes + of.addedBytes <= codeStorageMaxBytes) return;
  throw new FunctionCodeStorageError(of.name, codeStorageMaxBytes);
}

/** Throws `ERR_FUNCTION_BAD_CONFIG`. */
export async function checkRuntime(
  runtimes: RuntimeImages,
  of: { readonly name: string; readonly runtime: string },
): Promise<void> {
  const names = await runtimes.names();
  if (names.includes(of.runtime)) return;
  throw new FunctionBadConfigError(
    of.name,
    `Value ${of.runtime.slice(0, 100)} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [${names.join(', ')}]`,
  );
}
