/** Records to test with: only what a test is about has to be said. */

import type { FunctionRecord, ImageRecord } from '../records.ts';

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

export function functionRecord(fields: Partial<FunctionRecord> = {}): FunctionRecord {
  return {
    name: 'hello',
    tenant: 'default',
    manifestId: manifestIdOf(1),
    memoryMb: 128,
    timeoutSeconds: 3,
    environment: {},
    createdAtMs: 1_800_000_000_000,
    updatedAtMs: 1_800_000_000_000,
    ...fields,
  };
}
