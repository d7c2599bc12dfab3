/**
 * The tables as Kysely sees them, and how rows of images become records; of functions: `function-rows.ts`.
 * `migrations/` makes the tables.
 *
 * BIGINT columns come back as numbers from SQLite and as strings from PostgreSQL's driver, hence
 * `Count`, which is read through `Number`: sizes and times stay below 2^53.
 */

import type { ColumnType, Selectable, Insertable } from 'kysely';

import type { FunctionState, UpdateStatus } from './function-records.ts';
import type { ImageRecord } from './image-records.ts';

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

/** What a function has whatever its version. */
export interface FunctionTable {
  readonly tenant: string;
  readonly name: string;
  readonly reserved_concurrency: Count | null;
  readonly versions_published: Count;
  /** JSON: tags, URLs, settings of event invokes. */
  readonly settings: string;
}

export interface FunctionVersionTable {
  readonly tenant: string;
  readonly name: string;
  /** 0 for `$LATEST`. */
  readonly version: Count;
  /** Of an image function, as soon as there is one. */
  readonly manifest_id: string | null;
  readonly code_size_bytes: Count;
  readonly state: FunctionState;
  readonly last_update_status: UpdateStatus;
  readonly revision_id: string;
  /** Of a published one: what `$LATEST` was at. */
  readonly made_of_revision_id: string | null;
  readonly created_at_ms: Count;
  readonly updated_at_ms: Count;
  /** JSON: the rest of the record, which nothing is looked up by. */
  readonly configuration: string;
}

export interface AliasTable {
  readonly tenant: string;
  readonly function_name: string;
  readonly name: string;
  readonly version: Count;
  readonly description: string;
  /** JSON. */
  readonly weights: string;
  readonly revision_id: string;
}

export interface EventTable {
  readonly id: string;
  readonly tenant: string;
  readonly function_name: string;
  readonly qualifier: string | null;
  /** Base64. */
  readonly payload: string;
  readonly client_context: string | null;
  readonly trace_id: string | null;
  readonly accepted_at_ms: Count;
  readonly due_at_ms: Count;
  readonly failed_attempts: Count;
}

/** A server that runs events. */
interface EventRunnerTable {
  readonly id: string;
  readonly beat: Count;
}

interface EventClaimTable {
  readonly event_id: string;
  readonly runner_id: string;
}

export interface AccessKeyTable {
  readonly id: string;
  readonly tenant: string;
  /** Base64. */
  readonly wrapped_secret: string;
  readonly created_at_ms: Count;
}

export interface CatalogTables {
  readonly tenants: TenantTable;
  readonly roots: RootTable;
  readonly images: ImageTable;
  readonly functions: FunctionTable;
  readonly function_versions: FunctionVersionTable;
  readonly function_aliases: AliasTable;
  readonly function_events: EventTable;
  readonly event_runners: EventRunnerTable;
  readonly event_claims: EventClaimTable;
  readonly access_keys: AccessKeyTable;
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
