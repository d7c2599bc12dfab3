/** Every operation of the API. */

import { absentOperations } from './absent.ts';
import { accountOperations } from './account.ts';
import { aliasOperations } from './aliases.ts';
import { concurrencyOperations } from './concurrency.ts';
import { eventInvokeOperations } from './event-invoke.ts';
import { functionOperations } from './functions.ts';
import { invokeOperations } from './invoke.ts';
import type { Operation } from './operation.ts';
import { permissionOperations } from './permissions.ts';
import { tagOperations } from './tags.ts';
import { urlOperations } from './url-configs.ts';
import { versionOperations } from './versions.ts';

/** Those that do what Lambda's do. */
export const presentOperations: readonly Operation[] = [
  ...invokeOperations,
  ...functionOperations,
  ...versionOperations,
  ...aliasOperations,
  ...concurrencyOperations,
  ...tagOperations,
  ...urlOperations,
  ...eventInvokeOperations,
  ...permissionOperations,
  ...accountOperations,
];

export const operations: readonly Operation[] = [...presentOperations, ...absentOperations];
