/** FunctionControl.updateCode and updateConfiguration: changes of `$LATEST`, of which one is under way at a time. */

import { defined } from '../../base/index.ts';
import type { FunctionRecord, ImageRecord } from '../../catalog/index.ts';
import { FunctionBadCodeError, FunctionRevisionChangedError } from '../errors.ts';
import { dropArchive } from './dropped-archives.ts';
import { checkRuntime, resolveCode, type ResolvedCode } from './function-code.ts';
import { configured } from './function-configuration.ts';
import type {
  ChangeOptions,
  FunctionCodeRequest,
  FunctionConfigurationRequest,
  FunctionDescription,
  FunctionRef,
} from '../function-control.ts';
import { checkConfiguration } from '../function-rules.ts';
import { checkSettled, described, finishChange, latestOf } from './published-version.ts';
import { asControl, type RegistryDependencies } from './registry-deps.ts';

export async function updateCode(
  deps: RegistryDependencies,
  of: FunctionRef,
  code: FunctionCodeRequest,
  options: ChangeOptions,
): Promise<FunctionDescription> {
  const before = await latestOf(deps, of);
  const { tenant, name } = before;
  if (code.packageType !== before.code.packageType) {
    const has = before.code.packageType === 'Zip' ? 'a zip archive' : 'an image';
    throw new FunctionBadCodeError(name, `it has ${has}, which another kind cannot replace`);
  }
  const archive = before.code.packageType === 'Zip' ? before.code : undefined;
  const { dryRun } = options;
  const resolved = await resolveCode(deps, {
    tenant,
    name,
    code,
    ...defined({ runtime: archive?.runtime, handler: archive?.handler, dryRun }),
  });
  try {
    const change = (now: FunctionRecord): FunctionRecord => recoded(now, resolved);
    if (resolved.image !== undefined) await deps.checkStart(change(before), resolved.image);
    const updated = await applyChange(deps, before, change, options);
    if (options.dryRun !== true) await dropArchive(deps, before);
    return updated;
  } catch (thrown) {
    if (options.dryRun !== true) await dropArchive(deps, { tenant, name, code: resolved.code });
    throw thrown;
  }
}

/** With code that is there it is active again, whatever became of what it had; else the old code serves on, if there is any. */
function recoded(before: FunctionRecord, { image, ...code }: ResolvedCode): FunctionRecord {
  if (image !== undefined) return { ...settled(before), ...code, state: 'Active' };
  const reason = { code: 'Creating', message: 'The new image is being published.' };
  const hasCode = before.state === 'Active';
  if (!hasCode || code.code.packageType === 'Zip') {
    return { ...settled(before), ...code, state: 'Pending', stateReason: reason };
  }
  return {
    ...before,
    nextImageUri: code.code.imageUri,
    lastUpdateStatus: 'InProgress',
    lastUpdateReason: reason,
  };
}

function settled(record: FunctionRecord): FunctionRecord {
  const { stateReason: _state, lastUpdateReason: _update, nextImageUri: _next, ...kept } = record;
  return { ...kept, lastUpdateStatus: 'Successful' };
}

export async function updateConfiguration(
  deps: RegistryDependencies,
  of: FunctionRef,
  request: FunctionConfigurationRequest,
  options: ChangeOptions,
): Promise<FunctionDescription> {
  const before = await latestOf(deps, of);
  checkConfiguration(before.name, request);
  const change = (now: FunctionRecord): FunctionRecord => {
    const { lastUpdateReason: _before, ...after } = configured(now, request);
    return { ...after, lastUpdateStatus: 'Successful' };
  };
  const after = change(before);
  const image = await imageOf(deps, after);
  if (image !== undefined) await deps.checkStart(after, image);
  return await applyChange(deps, before, change, options);
}

/** What it would start from; undefined where it has nothing yet. */
async function imageOf(
  { catalog, runtimes }: RegistryDependencies,
  { tenant, name, code }: FunctionRecord,
): Promise<ImageRecord | undefined> {
  if (code.packageType === 'Image') {
    return code.manifestId === undefined
      ? undefined
      : await catalog.findImage(tenant, code.manifestId);
  }
  if (runtimes === undefined) return undefined;
  await checkRuntime(runtimes, { name, runtime: code.runtime });
  return await runtimes.ensure(code.runtime);
}

/** Publishing and what is still to come start from the record that this change made, and no later one. */
async function applyChange(
  deps: RegistryDependencies,
  before: FunctionRecord,
  change: (now: FunctionRecord) => FunctionRecord,
  options: ChangeOptions,
): Promise<FunctionDescription> {
  const { catalog, clock, newId } = deps;
  const stamped = (now: FunctionRecord): FunctionRecord => {
    checkSettled(now);
    return { ...change(now), revisionId: newId(), updatedAtMs: clock.nowMs() };
  };
  const { revisionId } = options;
  if (options.dryRun === true) {
    if (revisionId !== undefined && revisionId !== before.revisionId) {
      throw new FunctionRevisionChangedError(before.name);
    }
    return await described(deps, stamped(before));
  }
  const updating = catalog.updateFunction(before, stamped, defined({ revisionId }));
  const after = await asControl(before, updating);
  return await described(deps, await finishChange(deps, after, options.publish === true));
}
