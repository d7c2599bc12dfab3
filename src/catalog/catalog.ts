/** All that the catalog remembers: tenants, images, functions and roots. */

import type { AccessKeyCatalog } from './access-keys.ts';
import type { FunctionCatalog } from './function-records.ts';
import type { ImageCatalog } from './image-records.ts';

/**
 * Every call is one transaction: all of it happens or nothing, and a change that has resolved
 * survives a kill and a power failure. Tenants are made on first use. Only images and functions of
 * the given tenant are seen, where one is given.
 *
 * Any call throws `ERR_CATALOG_BUSY` (retryable) when other processes keep the database locked for
 * seconds, `ERR_CATALOG_CORRUPT` and `ERR_CATALOG_UNAVAILABLE` (no space, no permission, a failing
 * disk).
 */
export interface Catalog extends ImageCatalog, FunctionCatalog, AccessKeyCatalog, AsyncDisposable {}
