/** The part of FunctionControl that is about functions and their versions. */

import { defined } from '../../base/index.ts';
import { createFunction } from './create-function.ts';
import { allVersions, dropArchive } from './dropped-archives.ts';
import { FunctionBadConfigError, FunctionNotFoundError } from '../errors.ts';
import type { FunctionControl, FunctionDescription, FunctionRef } from '../function-control.ts';
import { checkNames, checkTenantName } from '../function-rules.ts';
import { checkLatest, described, publishVersion } from './published-version.ts';
import { asControl, type RegistryDependencies } from './registry-deps.ts';
import { updateCode, updateConfiguration } from './update-function.ts';

type VersionCalls = Pick<
  FunctionControl,
  | 'create'
  | 'find'
  | 'readArchive'
  | 'list'
  | 'listVersions'
  | 'updateCode'
  | 'updateConfiguration'
  | 'publishVersion'
  | 'remove'
>;

export function versionCalls(deps: RegistryDependencies): VersionCalls {
  const { catalog } = deps;
  return {
    create: async (request) => await createFunction(deps, request),
    find: async (of) => await find(deps, of),
    readArchive: async (of) => {
      const { tenant, code } = (await find(deps, of)).record;
      if (code.packageType === 'Image') return undefined;
      return await deps.archives?.read({ tenant, ...code });
    },
    list: async (tenant, page) => {
      checkTenantName(tenant);
      return await catalog.listFunctions(tenant, page);
    },
    listVersions: async (of, page) => {
      checkNames(of);
      return await asControl(of, catalog.listVersions(of.tenant, of.name, page));
    },
    updateCode: async (of, code, options = {}) => await updateCode(deps, of, code, options),
    updateConfiguration: async (of, change, options = {}) =>
      await updateConfiguration(deps, of, change, options),
    publishVersion: async (of, options = {}) => {
      checkLatest(of);
      return await described(deps, await publishVersion(deps, of, options));
    },
    remove: async (of) => await remove(deps, of),
  };
}

async function find(
  { catalog }: RegistryDependencies,
  of: FunctionRef,
): Promise<FunctionDescription> {
  checkNames(of);
  const { tenant, name, qualifier } = of;
  const found = await catalog.findInvoked(tenant, name, qualifier);
  const [record] = found?.versions ?? [];
  if (found === undefined || record === undefined) {
    throw new FunctionNotFoundError(tenant, name, qualifier);
  }
  const { settings, alias } = found;
  return { record, settings, ...defined({ alias }) };
}

/** Its code and its configuration, instances and logs, all or those of one version. */
async function remove(deps: RegistryDependencies, of: FunctionRef): Promise<void> {
  checkNames(of);
  const { tenant, name, qualifier: version } = of;
  if (version !== undefined && !/^\d+$/.test(version)) {
    throw new FunctionBadConfigError(
      name,
      'a published version can be removed by its number, or the function without a qualifier',
    );
  }
  const versions = await allVersions(deps, of);
  if (!(await deps.catalog.removeFunction(tenant, name, version))) {
    throw new FunctionNotFoundError(tenant, name, version);
  }
  const removed = { tenant, name, ...defined({ version }) };
  await deps.publications.cancel(removed);
  await deps.running.clearAway(removed);
  for (const record of versions) {
    if (version === undefined || record.version === version) await dropArchive(deps, record);
  }
}
