/** Which version an invoke runs, and how much of it may run at a time. */

import type { FunctionRecord, ImageRecord, InvokedFunction } from '../../catalog/index.ts';
import { present } from '../../base/index.ts';
import { FunctionNotReadyError } from '../errors.ts';
import type { Concurrency } from './instance-pool.ts';

/** What is run. */
export interface InvokedVersion {
  readonly record: FunctionRecord;
  /** Of the version itself; undefined where it is a zip archive, which runs in its runtime's. */
  readonly image: ImageRecord | undefined;
  readonly concurrency: Concurrency;
}

/**
 * Of an alias with a weight, `random` (0 to 1, exclusive) decides. Throws `ERR_FUNCTION_NOT_READY`.
 * Source: AWS Lambda developer guide, "Implement Lambda canary deployments using a weighted alias", "Lambda function states".
 */
export function invokedVersion(
  found: InvokedFunction,
  { instancesMax, random }: { readonly instancesMax: number; readonly random: () => number },
): InvokedVersion {
  const record = chosenVersion(found, random);
  const { name, state, stateReason } = record;
  if (state === 'Pending' || state === 'Failed') {
    const why = stateReason === undefined ? {} : { why: stateReason.message };
    throw new FunctionNotReadyError({ name, state, ...why });
  }
  const { code } = record;
  const image =
    code.packageType === 'Zip'
      ? undefined
      : found.images.find(({ manifestId }) => manifestId === code.manifestId);
  const { reservedConcurrency } = found.settings;
  const unreservedMax = Math.max(0, instancesMax - found.reservedConcurrencyOfTenant);
  return {
    record,
    image,
    concurrency: {
      unreservedMax,
      ...(reservedConcurrency === undefined ? {} : { reserved: reservedConcurrency }),
    },
  };
}

function chosenVersion({ alias, versions }: InvokedFunction, random: () => number): FunctionRecord {
  const [first, ...others] = versions;
  let left = others.length === 0 ? 0 : random();
  for (const other of others) {
    left -= alias?.additionalVersionWeights[other.version] ?? 0;
    if (left < 0) return other;
  }
  return present(first, 'version of an invoked function');
}
