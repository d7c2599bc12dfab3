/**
 * The tables as Kysely sees them, and how rows become records. `migrations/` makes the tables.
 *
 * BIGINT columns come back as numbers from SQLite and as strings from PostgreSQL's driver, hence
 * `Count`, which is read through `Number`: sizes and times stay below 2^53.
 */

import type { ColumnType, Selectable, Insertable } from 'kysely';

import type { FunctionRecord, ImageRecord } from './records.ts';

type Count = ColumnType<number | string, number, number>;

/**
 * Source: paper §3.4. Images go into an active root; a retired one is still read; then it expires
 * and is deleted.
 */
export type RootState = 'active' | 'retired' | 'expired' | 'deleted';

interface TenantTable {
  readonly name: string;
  readonly created_at_ms: Count;
}

interface RootTable {
  readonly id: string;
  readonly state: RootState;
  readonly created_at_ms: Count;
}

interface ImageTable {
  readonly tenant: string;
  readonly manifest_id: string;
  readonly root_id: string;
  readonly name: string;
  readonly reference: string;
  readonly image_digest: string;
  readonly platform: string;
  readonly disk_format_version: Count;
  readonly codec: string;
  readonly disk_size_bytes: Count;
  readonly content_bytes: Count;
  readonly file_count: Count;
  readonly chunk_count: Count;
  readonly stored_bytes: Count;
  readonly created_at_ms: Count;
}

interface FunctionTable {
  readonly tenant: string;
  readonly name: string;
  readonly manifest_id: string;
  readonly memory_mb: Count;
  readonly timeout_seconds: Count;
  /** JSON, as the next two. */
  readonly environment: string;
  readonly entrypoint: string | null;
  readonly command: string | null;
  readonly working_dir: string | null;
  readonly created_at_ms: Count;
  readonly updated_at_ms: Count;
}

export interface CatalogTables {
  readonly tenants: TenantTable;
  readonly roots: RootTable;
  readonly images: ImageTable;
  readonly functions: FunctionTable;
}

export function imageToRow(image: ImageRecord): Insertable<ImageTable> {
  return {
    tenant: image.tenant,
    manifest_id: image.manifestId,
    root_id: image.rootId,
    name: image.name,
    reference: image.reference,
    image_digest: image.imageDigest,
    platform: image.platform,
    disk_format_version: image.diskFormatVersion,
    codec: image.codec,
    disk_size_bytes: image.diskSizeBytes,
    content_bytes: image.contentBytes,
    file_count: image.fileCount,
    chunk_count: image.chunkCount,
    stored_bytes: image.storedBytes,
    created_at_ms: image.createdAtMs,
  };
}

export function imageFromRow(row: Selectable<ImageTable>): ImageRecord {
  return {
    manifestId: row.manifest_id,
    tenant: row.tenant,
    rootId: row.root_id,
    name: row.name,
    reference: row.reference,
    imageDigest: row.image_digest,
    platform: row.platform,
    diskFormatVersion: Number(row.disk_format_version),
    codec: row.codec,
    diskSizeBytes: Number(row.disk_size_bytes),
    contentBytes: Number(row.content_bytes),
    fileCount: Number(row.file_count),
    chunkCount: Number(row.chunk_count),
    storedBytes: Number(row.stored_bytes),
    createdAtMs: Number(row.created_at_ms),
  };
}

export function functionToRow(record: FunctionRecord): Insertable<FunctionTable> {
  return {
    tenant: record.tenant,
    name: record.name,
    manifest_id: record.manifestId,
    memory_mb: record.memoryMb,
    timeout_seconds: record.timeoutSeconds,
    environment: JSON.stringify(record.environment),
    entrypoint: record.entrypoint === undefined ? null : JSON.stringify(record.entrypoint),
    command: record.command === undefined ? null : JSON.stringify(record.command),
    working_dir: record.workingDir ?? null,
    created_at_ms: record.createdAtMs,
    updated_at_ms: record.updatedAtMs,
  };
}

export function functionFromRow(row: Selectable<FunctionTable>): FunctionRecord {
  return {
    name: row.name,
    tenant: row.tenant,
    manifestId: row.manifest_id,
    memoryMb: Number(row.memory_mb),
    timeoutSeconds: Number(row.timeout_seconds),
    environment: JSON.parse(row.environment) as Record<string, string>,
    ...(row.entrypoint === null ? {} : { entrypoint: JSON.parse(row.entrypoint) as string[] }),
    ...(row.command === null ? {} : { command: JSON.parse(row.command) as string[] }),
    ...(row.working_dir === null ? {} : { workingDir: row.working_dir }),
    createdAtMs: Number(row.created_at_ms),
    updatedAtMs: Number(row.updated_at_ms),
  };
}
