/** FunctionControl.create: code taken in, checked, and a function in the catalog, whose code may still be coming. */

import { latestVersion, type FunctionRecord, type FunctionSettings } from '../../catalog/index.ts';
import { dropArchive } from './dropped-archives.ts';
import { resolveCode, type ResolvedCode } from './function-code.ts';
import { configured } from './function-configuration.ts';
import type { CreateFunctionRequest, FunctionDescription } from '../function-control.ts';
import { checkConfiguration, checkNames, checkTags } from '../function-rules.ts';
import { described, finishChange } from './published-version.ts';
import type { RegistryDependencies } from './registry-deps.ts';

export async function createFunction(
  deps: RegistryDependencies,
  request: CreateFunctionRequest,
): Promise<FunctionDescription> {
  const { tenant, name, tags = {} } = request;
  checkNames(request);
  checkConfiguration(name, request);
  checkTags(name, tags);
  await deps.running.cleared({ tenant, name });
  const resolved = await resolveCode(deps, request);
  try {
    const record = newRecord(deps, request, resolved);
    if (resolved.image !== undefined) await deps.checkStart(record, resolved.image);
    const none = { urls: {}, eventInvoke: {}, policies: {} };
    const settings = { tenant, name, tags, ...none, versionsPublished: 0 };
    return await addFunction(deps, record, settings, request.publish === true);
  } catch (thrown) {
    await dropArchive(deps, { tenant, name, code: resolved.code });
    throw thrown;
  }
}

async function addFunction(
  deps: RegistryDependencies,
  record: FunctionRecord,
  settings: FunctionSettings,
  isPublished: boolean,
): Promise<FunctionDescription> {
  await deps.catalog.addFunction(record, settings);
  const made = await finishChange(deps, record, isPublished);
  return await described(deps, made);
}

function newRecord(
  { clock, newId }: RegistryDependencies,
  request: CreateFunctionRequest,
  { image, ...code }: ResolvedCode,
): FunctionRecord {
  const nowMs = clock.nowMs();
  const bare: FunctionRecord = {
    ...code,
    tenant: request.tenant,
    name: request.name,
    version: latestVersion,
    description: '',
    role: '',
    memoryMb: 128,
    timeoutSeconds: 3,
    ephemeralStorageMb: 512,
    environment: {},
    network: 'none',
    state: 'Active',
    lastUpdateStatus: 'Successful',
    revisionId: newId(),
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
  };
  const record = configured(bare, request);
  if (image !== undefined) return record;
  return {
    ...record,
    state: 'Pending',
    stateReason: { code: 'Creating', message: 'The function is being created.' },
  };
}
