/**
 * Applies an image's layers in order and gives the tree that they make together.
 *
 * Source: OCI image-spec, layer.md, "Applying Changesets"; what it leaves open is as in containerd's
 * `archive.Apply`. Invariants: nothing lands outside the root; a whiteout hides entries of lower layers
 * only, wherever in its layer it stands; the same layers give the same tree, whatever the machine or moment.
 */

import type { TarEntry } from '../oci/index.ts';
import { LayerApplication } from './layer-application.ts';
import type { LeftOutNamespace, LeftOutXattrs } from './left-out-xattrs.ts';
import { MutableDirectory } from './mutable-tree.ts';
import { sealTree } from './seal-tree.ts';
import type { LayerContent, RootTree } from './tree.ts';

export interface LayerEntries {
  /** `sha256:…` of the layer's uncompressed tar. */
  readonly diffId: string;
  /** As `scanTar` gives them. Read to the end once, one layer after the other. */
  readonly entries: AsyncIterable<TarEntry>;
}

export interface ApplyLayersOptions {
  /**
   * The most entries that all layers together may have, parents without an entry included. One whose attributes, sparse runs and path
   * take more memory than an ordinary entry counts as several. Default 4,194,304.
   */
  readonly entriesMax?: number;
}

/** The tree, and what of the layers it cannot have. */
export interface AppliedLayers extends RootTree {
  readonly leftOutXattrs: LeftOutXattrs;
}

/** About 2 GiB of tree, which Node's default heap still holds: four times the largest images. */
const entriesMaxDefault = 1 << 22;

/**
 * Applies `layers`, the lowest first. Rules where unpackers differ:
 * - The root's own entry (`./`) sets the root's metadata. Without one it is 0755, root's, of 1970.
 * - Parents that no layer has an entry for are 0755, root's, of 1970.
 * - A directory over a directory takes the new metadata, attributes included, and keeps its entries.
 * - A hard link sets its file's owner, mode and time, and adds its extended attributes.
 * - Times before 1970 or after 2262 become 1970. A symbolic link has mode 0777.
 * - An access control list says of owner, mask and others what the mode says; one that says no more than the mode is none.
 * - Left out, and counted, are `trusted.overlay.*` attributes, `user.*` on links and devices, and namespaces that Linux does not have.
 * - AUFS's own files (`.wh..wh.*`) are left out.
 *
 * Memory: about 400 bytes an entry with paths of 70 bytes (measured on 600,000 files).
 * Throws `ERR_ROOTFS_*` (see `rootfsErrorCodes`), and what `entries` throw.
 */
export async function applyLayers(
  layers: readonly LayerEntries[],
  options: ApplyLayersOptions = {},
): Promise<AppliedLayers> {
  const root = new MutableDirectory(0);
  const leftOutXattrs = new Map<LeftOutNamespace, number>();
  const shared = {
    budget: { entriesLeft: options.entriesMax ?? entriesMaxDefault },
    leftOutXattrs,
  };
  const contents: LayerContent[] = [];
  for (const [index, { diffId, entries }] of layers.entries()) {
    const application = new LayerApplication(root, index, diffId, shared);
    for await (const entry of entries) application.apply(entry);
    contents.push({ diffId, files: application.files() });
  }
  return {
    root: sealTree(root),
    layers: contents,
    leftOutXattrs: Object.fromEntries(leftOutXattrs),
  };
}
