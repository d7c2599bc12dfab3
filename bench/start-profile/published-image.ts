/** An image of the corpus in the origin's directory, as publishing leaves it: chunks and a sealed manifest. */

import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { toHex } from '../../src/base/index.ts';
import {
  defaultChunkSizeBytes,
  sealChunk,
  sealManifest,
  type ManifestChunk,
} from '../../src/chunk/index.ts';
import type { ImageRef } from '../../src/device/index.ts';
import { diskFormatVersion, planDisk } from '../../src/ext4/index.ts';
import type { KeyService } from '../../src/keys/index.ts';
import { chunkObjectName, manifestObjectName } from '../../src/store/index.ts';
import { plannedDisk } from '../dedup/disk-chunks.ts';
import { openLayers } from '../dedup/layered-image.ts';
import { startImage, type StartImageName } from '../starts/images.ts';
import { bucket } from './agent-process.ts';

export interface PublishedImage {
  readonly name: StartImageName;
  readonly image: ImageRef;
  readonly command: readonly string[];
}

const tenant = 'bench';
const rootId = 'bench';

export async function publish(
  name: StartImageName,
  objectsDir: string,
  keyService: KeyService,
): Promise<PublishedImage> {
  const put = async (object: string, bytes: Uint8Array): Promise<void> => {
    const path = join(objectsDir, bucket, object);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
  };
  const { layers, start } = await startImage(name);
  await using layered = await openLayers(layers);
  const disk = plannedDisk(planDisk(layered.tree), layered.content);
  const salt = await keyService.salt(rootId);
  const chunks: ManifestChunk[] = [];
  const chunkKeys: Uint8Array[] = [];
  const plaintext = Buffer.alloc(defaultChunkSizeBytes);
  for (const index of disk.chunkIndexes) {
    await disk.read(index * defaultChunkSizeBytes, plaintext);
    const sealed = sealChunk(plaintext, salt);
    if (sealed === undefined) continue;
    const { ciphertext, ciphertextDigest, key, storedLengthBytes } = sealed;
    chunks.push({ index, storedLengthBytes, codec: 'none', ciphertextDigest });
    chunkKeys.push(key);
    await put(chunkObjectName(rootId, toHex(ciphertextDigest)), ciphertext);
  }
  const manifest = {
    diskFormatVersion,
    rootId,
    diskSizeBytes: disk.sizeBytes,
    chunkSizeBytes: defaultChunkSizeBytes,
    chunks,
    chunkKeys,
    imageDocument: new Uint8Array(0),
  };
  const { bytes, manifestId } = await sealManifest(manifest, { tenant, keyService, randomBytes });
  await put(manifestObjectName(rootId, manifestId), bytes);
  return { name, image: { tenant, rootId, manifestId }, command: start };
}
