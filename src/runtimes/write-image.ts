/**
 * Writes an image as an OCI layout. Equal trees give equal bytes.
 * Source: OCI image-spec (image-layout.md, image-index.md, manifest.md, config.md).
 */

import { createHash } from 'node:crypto';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { RuntimeTree } from './runtime-tree.ts';
import { writeTar, type WrittenBlob } from './tar-writer.ts';

const mediaTypes = {
  config: 'application/vnd.oci.image.config.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
} as const;
const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };
/** What functions run as, numbers and name as in Lambda. */
export const runtimeUser = { name: 'sbx_user1051', uid: 993, gid: 990 } as const;

/** Writes into `dir`, which is empty. */
export async function writeImage(tree: RuntimeTree, dir: string, tag: string): Promise<void> {
  const blobs = join(dir, 'blobs/sha256');
  await mkdir(blobs, { recursive: true });
  const layers: WrittenBlob[] = [];
  for (const entries of tree.layers) {
    const unnamed = join(dir, 'layer');
    const layer = await writeTar(entries, unnamed);
    await rename(unnamed, join(blobs, layer.sha256));
    layers.push(layer);
  }
  const writeDocument = async (document: object): Promise<WrittenBlob> => {
    const bytes = Buffer.from(JSON.stringify(document));
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    await writeFile(join(blobs, sha256), bytes);
    return { sha256, sizeBytes: bytes.byteLength };
  };
  const config = await writeDocument(configOf(tree, layers));
  const manifest = await writeDocument({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: descriptorOf(config, mediaTypes.config),
    layers: layers.map((layer) => descriptorOf(layer, mediaTypes.layer)),
  });
  const annotations = { 'org.opencontainers.image.ref.name': tag };
  const manifests = [{ ...descriptorOf(manifest, mediaTypes.manifest), annotations }];
  await writeFile(join(dir, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  await writeFile(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
}

function descriptorOf(blob: WrittenBlob, mediaType: string) {
  return { mediaType, digest: `sha256:${blob.sha256}`, size: blob.sizeBytes };
}

function configOf({ entrypoint, env }: RuntimeTree, layers: readonly WrittenBlob[]): object {
  return {
    architecture: architectures[process.arch] ?? process.arch,
    os: 'linux',
    config: {
      User: `${runtimeUser.uid}:${runtimeUser.gid}`,
      Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
      Entrypoint: entrypoint,
      WorkingDir: '/var/task',
    },
    rootfs: { type: 'layers', diff_ids: layers.map(({ sha256 }) => `sha256:${sha256}`) },
  };
}
