/** An image of the corpus, opened: its tree, the bytes of its files, and what identifies each file. */

import { createHash } from 'node:crypto';

import { RandomAccessFile, present, type ByteString } from '../../src/base/index.ts';
import type { ContentReader } from '../../src/ext4/index.ts';
import { scanTar } from '../../src/oci/index.ts';
import {
  applyLayers,
  walkTree,
  type FileContent,
  type Node,
  type RootTree,
} from '../../src/rootfs/index.ts';
import { corpusLayers, type LayerName } from '../corpus/index.ts';

export interface LayerFile {
  readonly name: string;
  readonly path: string;
}

export interface LayeredImage extends AsyncDisposable {
  readonly layers: readonly LayerFile[];
  readonly tree: RootTree;
  readonly content: ContentReader;
}

/** The layers that the names stand for, the lowest first. */
export async function layerFiles(names: readonly LayerName[]): Promise<readonly LayerFile[]> {
  const files: LayerFile[] = [];
  for (const name of names) {
    const paths = await corpusLayers(name);
    for (const [index, path] of paths.entries()) {
      files.push({ name: paths.length === 1 ? name : `${name} ${index + 1}`, path });
    }
  }
  return files;
}

export async function openLayers(layers: readonly LayerFile[]): Promise<LayeredImage> {
  const tars = await Promise.all(layers.map(({ path }) => RandomAccessFile.open(path)));
  const tree = await applyLayers(
    tars.map((tar) => ({ diffId: `sha256:${tar.path}`, entries: scanTar(tar) })),
  );
  return {
    layers,
    tree,
    content: {
      read: async (layer, tarOffset, target) => {
        await present(tars[layer], 'a layer').read(tarOffset, target);
      },
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(tars.map((tar) => tar.close()));
    },
  };
}

/** What two images are compared by, whatever their disks look like. */
export interface ImageEntry {
  readonly path: ByteString;
  /** That brought the content; of what is no file, that made it. */
  readonly layer: number;
  /** Equal for equal entries: type, mode, owner, time and size. */
  readonly facts: string;
  /** A file with data. */
  readonly file?: { readonly sizeBytes: number; readonly digest: string };
}

/** Everything in the tree, once however many names it has. */
export async function entriesOf(image: LayeredImage): Promise<readonly ImageEntry[]> {
  const seen = new Set<Node>();
  const entries: ImageEntry[] = [];
  for (const { path, node } of walkTree(image.tree.root)) {
    if (seen.has(node)) continue;
    seen.add(node);
    const facts = JSON.stringify([node.type, { ...node.metadata, xattrs: [] }]);
    if (node.type !== 'file' || node.content.sizeBytes === 0) {
      entries.push({ path, layer: node.layer, facts });
      continue;
    }
    const { layer, sizeBytes } = node.content;
    const file = { sizeBytes, digest: await digestOf(image, node.content) };
    entries.push({ path, layer, facts: `${facts}${sizeBytes}`, file });
  }
  return entries;
}

/** By layer file and offset: layers are the same in many images. */
const digests = new Map<string, string>();

async function digestOf(image: LayeredImage, content: FileContent): Promise<string> {
  const { path } = present(image.layers[content.layer], 'a layer');
  const key = `${path}:${content.segments[0]?.tarOffset}`;
  const known = digests.get(key);
  if (known !== undefined) return known;
  const hash = createHash('sha256').update(`${content.sizeBytes}`);
  for (const { fileOffset, tarOffset, lengthBytes } of content.segments) {
    const bytes = Buffer.alloc(lengthBytes);
    await image.content.read(content.layer, tarOffset, bytes);
    hash.update(`@${fileOffset}:`).update(bytes);
  }
  const digest = hash.digest('base64');
  digests.set(key, digest);
  return digest;
}
