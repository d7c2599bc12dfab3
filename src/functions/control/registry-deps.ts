/** What the calls of FunctionControl share. */

import { errorCode, type Clock, type Log } from '../../base/index.ts';
import type { FunctionRecord, ImageRecord } from '../../catalog/index.ts';
import type { CodePublications } from './code-publications.ts';
import { FunctionNotFoundError, FunctionRevisionChangedError } from '../errors.ts';
import type { CodeDependencies } from './function-code.ts';

/** The instances and logs of functions, as those see them who manage functions. */
export interface RunningFunctions {
  /** Ends invokes and instances, of one version or of all; of all, removes the logs too. */
  clearAway(of: {
    readonly tenant: string;
    readonly name: string;
    readonly version?: string;
  }): Promise<void>;
  /** Resolves when nothing is left of a function of that name that was removed. */
  cleared(of: { readonly tenant: string; readonly name: string }): Promise<void>;
}

export interface RegistryDependencies extends CodeDependencies {
  readonly publications: CodePublications;
  readonly running: RunningFunctions;
  /** Throws where the function could not be started from the image. */
  readonly checkStart: (record: FunctionRecord, image: ImageRecord) => Promise<void>;
  /** What the worker runs at a time: Lambda's account limit. */
  readonly concurrencyMax: number;
  readonly clock: Clock;
  /** A fresh UUID. */
  readonly newId: () => string;
  readonly log: Log;
}

/** What a call is about, for its errors. */
export interface Named {
  readonly tenant: string;
  readonly name: string;
  readonly qualifier?: string | undefined;
}

const notFoundCodes: ReadonlySet<string> = new Set([
  'ERR_CATALOG_NO_SUCH_FUNCTION',
  'ERR_CATALOG_NO_SUCH_ALIAS',
]);

/** Says what the catalog throws as the functions room does. */
export async function asControl<T>(of: Named, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (thrown) {
    const code = errorCode(thrown) ?? '';
    if (notFoundCodes.has(code)) throw new FunctionNotFoundError(of.tenant, of.name, of.qualifier);
    if (code !== 'ERR_CATALOG_REVISION_CHANGED') throw thrown;
    throw new FunctionRevisionChangedError(of.name, thrown);
  }
}
