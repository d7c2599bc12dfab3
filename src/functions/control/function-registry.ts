/** Functions as they are managed: the contract FunctionControl over the catalog, put together from its parts. */

import { aliasCalls } from './alias-calls.ts';
import type { FunctionControl } from '../function-control.ts';
import type { RegistryDependencies } from './registry-deps.ts';
import { settingsCalls } from './settings-calls.ts';
import { versionCalls } from './version-calls.ts';

export function createFunctionRegistry(deps: RegistryDependencies): FunctionControl {
  return { ...versionCalls(deps), ...aliasCalls(deps), ...settingsCalls(deps) };
}
