/** How rows of functions, aliases and events become records, and back. */

import type { Insertable, Selectable } from 'kysely';

import {
  latestVersion,
  type AliasRecord,
  type FunctionCode,
  type FunctionRecord,
  type FunctionSettings,
  type QueuedEvent,
} from './function-records.ts';
import type { AliasTable, EventTable, FunctionTable, FunctionVersionTable } from './schema.ts';

const numberedVersion = /^[1-9][0-9]{0,14}$/;

/** 0 for `$LATEST`; undefined for what cannot be a version. */
export function versionNumber(version: string): number | undefined {
  if (version === latestVersion) return 0;
  return numberedVersion.test(version) ? Number(version) : undefined;
}

export function versionName(number: number): string {
  return number === 0 ? latestVersion : String(number);
}

/** What has no column of its own. */
type Configuration = Omit<
  FunctionRecord,
  | 'tenant'
  | 'name'
  | 'version'
  | 'codeSizeBytes'
  | 'state'
  | 'lastUpdateStatus'
  | 'revisionId'
  | 'createdAtMs'
  | 'updatedAtMs'
>;

function withoutManifest(code: FunctionCode): FunctionCode {
  if (code.packageType === 'Zip') return code;
  const { manifestId: _column, ...others } = code;
  return others;
}

function withManifest(code: FunctionCode, manifestId: string | null): FunctionCode {
  return code.packageType === 'Zip' || manifestId === null ? code : { ...code, manifestId };
}

/** Nothing is left out but what has a column: a field that is added to records is kept without a change here. */
export function versionToRow(
  record: FunctionRecord,
  of: { readonly version: number; readonly madeOfRevisionId?: string },
): Insertable<FunctionVersionTable> {
  const {
    tenant,
    name,
    version: _column,
    codeSizeBytes,
    state,
    lastUpdateStatus,
    revisionId,
    createdAtMs,
    updatedAtMs,
    ...others
  } = record;
  const configuration: Configuration = { ...others, code: withoutManifest(record.code) };
  return {
    tenant,
    name,
    version: of.version,
    manifest_id: record.code.packageType === 'Image' ? (record.code.manifestId ?? null) : null,
    code_size_bytes: codeSizeBytes,
    state,
    last_update_status: lastUpdateStatus,
    revision_id: revisionId,
    made_of_revision_id: of.madeOfRevisionId ?? null,
    created_at_ms: createdAtMs,
    updated_at_ms: updatedAtMs,
    configuration: JSON.stringify(configuration),
  };
}

export function versionFromRow(row: Selectable<FunctionVersionTable>): FunctionRecord {
  const configuration = JSON.parse(row.configuration) as Configuration;
  return {
    ...configuration,
    tenant: row.tenant,
    name: row.name,
    version: versionName(Number(row.version)),
    code: withManifest(configuration.code, row.manifest_id),
    codeSizeBytes: Number(row.code_size_bytes),
    state: row.state,
    lastUpdateStatus: row.last_update_status,
    revisionId: row.revision_id,
    createdAtMs: Number(row.created_at_ms),
    updatedAtMs: Number(row.updated_at_ms),
  };
}

type OtherSettings = Pick<FunctionSettings, 'tags' | 'urls' | 'eventInvoke' | 'policies'>;

export function settingsToRow(settings: FunctionSettings): Insertable<FunctionTable> {
  const { tags, urls, eventInvoke, policies } = settings;
  const others: OtherSettings = { tags, urls, eventInvoke, policies };
  return {
    tenant: settings.tenant,
    name: settings.name,
    reserved_concurrency: settings.reservedConcurrency ?? null,
    versions_published: settings.versionsPublished,
    settings: JSON.stringify(others),
  };
}

export function settingsFromRow(row: Selectable<FunctionTable>): FunctionSettings {
  const reserved = row.reserved_concurrency;
  return {
    policies: {}, // of rows from before there were any
    ...(JSON.parse(row.settings) as Omit<OtherSettings, 'policies'>),
    tenant: row.tenant,
    name: row.name,
    ...(reserved === null ? {} : { reservedConcurrency: Number(reserved) }),
    versionsPublished: Number(row.versions_published),
  };
}

export function aliasToRow(alias: AliasRecord, version: number): Insertable<AliasTable> {
  return {
    tenant: alias.tenant,
    function_name: alias.functionName,
    name: alias.name,
    version,
    description: alias.description,
    weights: JSON.stringify(alias.additionalVersionWeights),
    revision_id: alias.revisionId,
  };
}

export function aliasFromRow(row: Selectable<AliasTable>): AliasRecord {
  return {
    tenant: row.tenant,
    functionName: row.function_name,
    name: row.name,
    version: versionName(Number(row.version)),
    description: row.description,
    additionalVersionWeights: JSON.parse(row.weights) as Record<string, number>,
    revisionId: row.revision_id,
  };
}

export function eventToRow(event: QueuedEvent): Insertable<EventTable> {
  return {
    id: event.id,
    tenant: event.tenant,
    function_name: event.functionName,
    qualifier: event.qualifier ?? null,
    payload: Buffer.from(event.payload).toString('base64'),
    client_context: event.clientContext ?? null,
    trace_id: event.traceId ?? null,
    accepted_at_ms: event.acceptedAtMs,
    due_at_ms: event.dueAtMs,
    failed_attempts: event.failedAttempts,
  };
}

export function eventFromRow(row: Selectable<EventTable>): QueuedEvent {
  return {
    id: row.id,
    tenant: row.tenant,
    functionName: row.function_name,
    ...(row.qualifier === null ? {} : { qualifier: row.qualifier }),
    payload: Buffer.from(row.payload, 'base64'),
    ...(row.client_context === null ? {} : { clientContext: row.client_context }),
    ...(row.trace_id === null ? {} : { traceId: row.trace_id }),
    acceptedAtMs: Number(row.accepted_at_ms),
    dueAtMs: Number(row.due_at_ms),
    failedAttempts: Number(row.failed_attempts),
  };
}
