/** Publishing a version: `$LATEST` as it is now, kept under the next number. */

import { isDeepStrictEqual } from 'node:util';

import { latestVersion, type FunctionCode, type FunctionRecord } from '../../catalog/index.ts';
import {
  FunctionBadConfigError,
  FunctionNotFoundError,
  FunctionUpdateInProgressError,
} from '../errors.ts';
import type { FunctionDescription, FunctionRef } from '../function-control.ts';
import { checkNames } from '../function-rules.ts';
import { asControl, type RegistryDependencies } from './registry-deps.ts';

export interface PublishOptions {
  readonly description?: string;
  readonly codeSha256?: string;
  readonly revisionId?: string;
}

/** Throws `ERR_FUNCTION_BAD_NAME`, and `ERR_FUNCTION_BAD_CONFIG` for a version or an alias: only `$LATEST` can be changed. */
export function checkLatest(of: FunctionRef): void {
  checkNames(of);
  if (of.qualifier === undefined || of.qualifier === latestVersion) return;
  throw new FunctionBadConfigError(of.name, 'only $LATEST can be changed; leave the qualifier out');
}

/** Throws `ERR_FUNCTION_UPDATE_IN_PROGRESS`. */
export function checkSettled({ name, state, lastUpdateStatus }: FunctionRecord): void {
  if (state !== 'Pending' && lastUpdateStatus !== 'InProgress') return;
  throw new FunctionUpdateInProgressError(name);
}

/** `$LATEST` that no change is under way of. */
export async function latestOf(
  { catalog }: RegistryDependencies,
  of: FunctionRef,
): Promise<FunctionRecord> {
  checkLatest(of);
  const record = await catalog.findFunction(of.tenant, of.name);
  if (record === undefined) throw new FunctionNotFoundError(of.tenant, of.name);
  checkSettled(record);
  return record;
}

/** The record as it is given, with what else its function has. */
export async function described(
  { catalog }: RegistryDependencies,
  record: FunctionRecord,
): Promise<FunctionDescription> {
  const settings = await catalog.findFunctionSettings(record.tenant, record.name);
  if (settings === undefined) throw new FunctionNotFoundError(record.tenant, record.name);
  return { record, settings };
}

/** As `FunctionControl.publishVersion`. */
export async function publishVersion(
  deps: RegistryDependencies,
  of: FunctionRef,
  options: PublishOptions,
): Promise<FunctionRecord> {
  return await keepVersion(deps, of, options, (latest) => {
    checkSettled(latest);
    if (latest.state !== 'Failed') return;
    throw new FunctionBadConfigError(
      of.name,
      'its code could not be had; give it other code first',
    );
  });
}

/**
 * What comes after a change of `$LATEST`: a version of it, where one is wanted, and the code, where that is still to come;
 * the version waits for it as well. Resolves with the version, or `$LATEST`.
 */
export async function finishChange(
  deps: RegistryDependencies,
  changed: FunctionRecord,
  isPublished: boolean,
): Promise<FunctionRecord> {
  const waiting = [changed];
  try {
    if (!isPublished) return changed;
    const { revisionId } = changed;
    const published = await keepVersion(deps, changed, { revisionId }, () => {});
    waiting.push(published);
    return published;
  } finally {
    const isUnfinished = changed.state === 'Pending' || changed.lastUpdateStatus === 'InProgress';
    if (isUnfinished) deps.publications.start(waiting);
  }
}

async function keepVersion(
  { catalog, clock, newId }: RegistryDependencies,
  of: FunctionRef,
  options: PublishOptions,
  check: (latest: FunctionRecord) => void,
): Promise<FunctionRecord> {
  const { description, codeSha256, revisionId } = options;
  const { tenant, name } = of;
  const nowMs = clock.nowMs();
  const make = (latest: FunctionRecord): FunctionRecord => {
    check(latest);
    if (codeSha256 !== undefined && codeSha256 !== latest.codeSha256) {
      throw new FunctionBadConfigError(
        name,
        `CodeSHA256 (${codeSha256.slice(0, 100)}) is different from current CodeSHA256 in $LATEST (${latest.codeSha256}). Please try again with the CodeSHA256 in $LATEST.`,
      );
    }
    return {
      ...withNextCode(latest),
      description: description ?? latest.description,
      revisionId: newId(),
      createdAtMs: nowMs,
      updatedAtMs: nowMs,
    };
  };
  const isSame = (made: FunctionRecord, last: FunctionRecord): boolean =>
    isDeepStrictEqual(contentOf(made), contentOf(last)) &&
    (description !== undefined || made.description === last.description);
  const publishing = catalog.publishVersion(
    { tenant, name },
    make,
    revisionId === undefined ? { isSame } : { isSame, revisionId },
  );
  return await asControl(of, publishing);
}

/** A version of code that is still being published waits for it, whatever `$LATEST` runs meanwhile. */
function withNextCode({ nextImageUri, ...latest }: FunctionRecord): FunctionRecord {
  const { lastUpdateReason: _updated, ...kept } = latest;
  if (nextImageUri === undefined) return { ...kept, lastUpdateStatus: 'Successful' };
  return {
    ...kept,
    code: { packageType: 'Image', imageUri: nextImageUri },
    codeSha256: '',
    state: 'Pending',
    stateReason: { code: 'Creating', message: 'The version is being created.' },
    lastUpdateStatus: 'Successful',
  };
}

/** What makes two versions different, besides their descriptions. */
function contentOf(record: FunctionRecord): object {
  const {
    version: _version,
    description: _description,
    state: _state,
    stateReason: _stateReason,
    lastUpdateStatus: _lastUpdateStatus,
    lastUpdateReason: _lastUpdateReason,
    revisionId: _revisionId,
    createdAtMs: _createdAtMs,
    updatedAtMs: _updatedAtMs,
    code,
    ...content
  } = record;
  return { ...content, code: record.codeSha256 === '' ? code : whatIsRun(code) };
}

/** Besides the bytes, which have their hash: the same archive uploaded again is the same code. */
function whatIsRun(code: FunctionCode): object {
  if (code.packageType === 'Image') return {};
  const { runtime, handler } = code;
  return { runtime, handler };
}
