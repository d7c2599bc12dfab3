/** Archives in the store that no version of their function names any longer go with the last one that did. */

import { errorCode, errorMessage } from '../../base/index.ts';
import type { FunctionRecord } from '../../catalog/index.ts';
import type { RegistryDependencies } from './registry-deps.ts';

type CodeOf = Pick<FunctionRecord, 'tenant' | 'name' | 'code'>;

/** The versions of a function; empty if there is none. */
export async function allVersions(
  { catalog }: RegistryDependencies,
  of: Pick<FunctionRecord, 'tenant' | 'name'>,
): Promise<readonly FunctionRecord[]> {
  const versions: FunctionRecord[] = [];
  try {
    let page = await catalog.listVersions(of.tenant, of.name, { itemsMax: 1000 });
    versions.push(...page.items);
    while (page.nextMarker !== undefined) {
      const { nextMarker: marker } = page;
      page = await catalog.listVersions(of.tenant, of.name, { itemsMax: 1000, marker });
      versions.push(...page.items);
    }
  } catch (thrown) {
    if (errorCode(thrown) !== 'ERR_CATALOG_NO_SUCH_FUNCTION') throw thrown;
  }
  return versions;
}

/** Never fails: what cannot be removed is left over, which costs room and nothing else. */
export async function dropArchive(deps: RegistryDependencies, of: CodeOf): Promise<void> {
  const { tenant, name, code } = of;
  if (code.packageType !== 'Zip' || code.archiveId === '') return;
  try {
    const users = await allVersions(deps, of);
    const isUsed = users.some(
      (user) => user.code.packageType === 'Zip' && user.code.archiveId === code.archiveId,
    );
    if (!isUsed) await deps.archives?.remove({ tenant, ...code });
  } catch (thrown) {
    const error = errorMessage(thrown);
    deps.log.warn('Cannot remove code that nothing uses any longer', {
      tenant,
      function: name,
      error,
    });
  }
}
