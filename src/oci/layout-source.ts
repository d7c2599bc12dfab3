/**
 * An OCI image layout, as a directory or in a tar file. Source: OCI image-spec, image-layout.md. A blob's path is
 * made of its checked digest, so no document can point outside the layout.
 */

import type { Blob, BlobSource } from './blob-source.ts';
import { readSmallFile } from './blob-source.ts';
import { digestAlgorithm, digestHex } from './digest.ts';
import { checkLayoutMarker, parseLayoutIndex, type Descriptor } from './documents.ts';
import { OciAmbiguousReferenceError, OciLayoutError, OciNotFoundError } from './errors.ts';
import type { ImageFiles } from './image-files.ts';
import { formatReference, type LayoutReference } from './reference.ts';

/** Annotations that name an image: the specification's, and containerd's and Docker's with the full name. */
const nameAnnotations = ['org.opencontainers.image.ref.name', 'io.containerd.image.name'] as const;

function namesOf(descriptor: Descriptor): string[] {
  return nameAnnotations
    .map((annotation) => descriptor.annotations[annotation])
    .filter((name) => name !== undefined);
}

async function readLayoutFile(files: ImageFiles, name: string): Promise<Uint8Array> {
  await using range = await files.find(name);
  if (range === undefined) {
    const why = `it is not an OCI image layout: it has no file "${name}"`;
    throw new OciLayoutError(files.path, why);
  }
  return await readSmallFile(`"${name}" of "${files.path}"`, range);
}

function blobPath(digest: string): string {
  return `blobs/${digestAlgorithm(digest)}/${digestHex(digest)}`;
}

export class LayoutSource implements BlobSource {
  readonly isRemote = false;
  readonly #files: ImageFiles;
  readonly #reference: LayoutReference;

  constructor(files: ImageFiles, reference: LayoutReference) {
    this.#files = files;
    this.#reference = reference;
  }

  /**
   * Without a tag a layout of one image is that image, and one whose entries have no names is an index to
   * choose from by platform.
   */
  async roots(): Promise<readonly Descriptor[]> {
    const { path } = this.#files;
    checkLayoutMarker(`"oci-layout" of "${path}"`, await readLayoutFile(this.#files, 'oci-layout'));
    const index = await readLayoutFile(this.#files, 'index.json');
    const all = parseLayoutIndex(`"index.json" of "${path}"`, index);
    const names = [...new Set(all.flatMap((descriptor) => namesOf(descriptor).slice(0, 1)))];
    const { tag } = this.#reference;
    if (tag === undefined) {
      if (names.length > 1) {
        throw new OciAmbiguousReferenceError(formatReference(this.#reference), names);
      }
      if (all.length === 0) throw new OciLayoutError(path, 'its index lists no image');
      return all;
    }
    const named = all.filter((descriptor) => namesOf(descriptor).includes(tag));
    if (named.length > 0) return named;
    const advice = names.length === 0 ? 'its images have no tags' : `it has ${names.join(', ')}`;
    throw new OciNotFoundError(`tag "${tag}"`, path, advice);
  }

  openManifest(descriptor: Descriptor): Promise<Blob> {
    return this.openBlob(descriptor);
  }

  async openBlob({ digest }: Pick<Descriptor, 'digest'>): Promise<Blob> {
    const range = await this.#files.find(blobPath(digest));
    if (range !== undefined) return { kind: 'range', range };
    const advice = 'the layout is incomplete; write it again';
    throw new OciNotFoundError(`blob ${digest}`, this.#files.path, advice);
  }

  async hasBlob(descriptor: Pick<Descriptor, 'digest' | 'sizeBytes'>): Promise<boolean> {
    await using range = await this.#files.find(blobPath(descriptor.digest));
    return range?.sizeBytes === descriptor.sizeBytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#files[Symbol.asyncDispose]();
  }
}
