/** The part of FunctionControl that is about aliases. */

import type { AliasRecord } from '../../catalog/index.ts';
import { FunctionNotFoundError } from '../errors.ts';
import type { AliasRef, FunctionControl } from '../function-control.ts';
import { checkAlias, checkNames } from '../function-rules.ts';
import { asControl, type Named, type RegistryDependencies } from './registry-deps.ts';

type AliasCalls = Pick<
  FunctionControl,
  'createAlias' | 'findAlias' | 'listAliases' | 'updateAlias' | 'removeAlias'
>;

function named({ tenant, functionName, name }: AliasRef): Named {
  return { tenant, name: functionName, qualifier: name };
}

export function aliasCalls({ catalog, newId }: RegistryDependencies): AliasCalls {
  /** What is kept for it goes first, lest it should ever open an alias that somebody makes later. */
  const forget = async ({ tenant, functionName, name }: AliasRef): Promise<void> => {
    const of = { tenant, name: functionName };
    const forgetting = catalog.updateFunctionSettings(of, (settings) => ({
      ...settings,
      urls: without(settings.urls, name),
      eventInvoke: without(settings.eventInvoke, name),
      policies: without(settings.policies, name),
    }));
    await asControl(of, forgetting);
  };
  return {
    createAlias: async (request) => {
      const { tenant, functionName, name, version } = request;
      checkNames({ tenant, name: functionName });
      checkAlias(request);
      const there = await catalog.findAlias(tenant, functionName, name);
      if (there === undefined) await forget(request);
      const alias: AliasRecord = { ...request, revisionId: newId() };
      await asControl({ tenant, name: functionName, qualifier: version }, catalog.addAlias(alias));
      return alias;
    },
    findAlias: async (of) => {
      const alias = await catalog.findAlias(of.tenant, of.functionName, of.name);
      if (alias !== undefined) return alias;
      throw new FunctionNotFoundError(of.tenant, of.functionName, of.name);
    },
    listAliases: async (of, page) =>
      await asControl(of, catalog.listAliases(of.tenant, of.name, page)),
    updateAlias: async (of, change, options) => {
      const updating = catalog.updateAlias(
        of,
        (before) => {
          const after = { ...before, ...change, revisionId: newId() };
          checkAlias(after);
          return after;
        },
        options,
      );
      return await asControl(named(of), updating);
    },
    removeAlias: async (of) => {
      await forget(of);
      await catalog.removeAlias(of.tenant, of.functionName, of.name);
    },
  };
}

/** A copy of `entries` without one of them. */
export function without<T>(
  entries: Readonly<Record<string, T>>,
  key: string,
): Readonly<Record<string, T>> {
  return Object.fromEntries(Object.entries(entries).filter(([name]) => name !== key));
}
