/** Records to test with: only what a test is about has to be said. */

import type { FunctionRecord, FunctionSettings } from '../function-records.ts';
import type { ImageRecord } from '../image-records.ts';

/** A manifest id that ends in `number`; the first digits can be given. */
export function manifestIdOf(number: number, prefix = ''): string {
  return prefix + number.toString(16).padStart(64 - prefix.length, '0');
}

export function imageRecord(fields: Partial<ImageRecord> = {}): ImageRecord {
  return {
    manifestId: manifestIdOf(1),
    tenant: 'default',
    rootId: 'r1',
    name: 'debian',
    reference: 'docker://registry.example/debian:trixie',
    imageDigest: `sha256:${'d'.repeat(64)}`,
    platform: 'linux/amd64',
    diskFormatVersion: 1,
    codec: 'none',
    diskSizeBytes: 16 * 2 ** 40,
    contentBytes: 10 * 2 ** 30 + 1,
    fileCount: 1_000_000,
    chunkCount: 20_480,
    storedBytes: 2 ** 40,
    createdAtMs: 1_800_000_000_000,
    ...fields,
  };
}

export function functionRecord(
  fields: Partial<FunctionRecord> & { readonly manifestId?: string } = {},
): FunctionRecord {
  const { manifestId = manifestIdOf(1), ...others } = fields;
  return {
    tenant: 'default',
    name: 'hello',
    version: '$LATEST',
    code: { packageType: 'Image', imageUri: 'debian', manifestId },
    codeSha256: 'd'.repeat(64),
    codeSizeBytes: 0,
    description: '',
    role: '',
    memoryMb: 128,
    timeoutSeconds: 3,
    ephemeralStorageMb: 512,
    environment: {},
    network: 'none',
    state: 'Active',
    lastUpdateStatus: 'Successful',
    revisionId: '00000000-0000-4000-8000-000000000001',
    createdAtMs: 1_800_000_000_000,
    updatedAtMs: 1_800_000_000_000,
    ...others,
  };
}

export function functionSettings(fields: Partial<FunctionSettings> = {}): FunctionSettings {
  return {
    tenant: 'default',
    name: 'hello',
    tags: {},
    urls: {},
    eventInvoke: {},
    policies: {},
    versionsPublished: 0,
    ...fields,
  };
}
