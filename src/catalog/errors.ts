/** How the catalog fails. */

import { ThawError, errorMessage } from '../base/index.ts';

export class CatalogNewerError extends ThawError {
  constructor(where: string, unknownMigrations: readonly string[]) {
    super({
      code: 'ERR_CATALOG_NEWER',
      fault: 'environment',
      message: `Cannot use catalog "${where}": a newer Thaw has changed its tables (${unknownMigrations.join(', ')}); run that version or a later one`,
    });
  }
}

export class CatalogCorruptError extends ThawError {
  constructor(where: string, why: string, cause?: unknown) {
    super({
      code: 'ERR_CATALOG_CORRUPT',
      fault: 'data',
      message: `Cannot read catalog "${where}": ${why}; the file was left as it is: restore it from a backup, or move it away to start an empty one`,
      cause,
    });
  }
}

export class CatalogBusyError extends ThawError {
  constructor(where: string, cause: unknown) {
    super({
      code: 'ERR_CATALOG_BUSY',
      fault: 'environment',
      message: `Cannot lock catalog "${where}": other processes hold it; try again`,
      retryable: true,
      cause,
    });
  }
}

export class CatalogUnavailableError extends ThawError {
  constructor(where: string, cause: unknown) {
    super({
      code: 'ERR_CATALOG_UNAVAILABLE',
      fault: 'environment',
      message: `Cannot use catalog "${where}": ${errorMessage(cause)}; check the directory's permissions and free space`,
      cause,
    });
  }
}

export class AmbiguousImageError extends ThawError {
  constructor(id: string, candidates: readonly string[]) {
    super({
      code: 'ERR_CATALOG_AMBIGUOUS',
      fault: 'caller',
      message: `Cannot tell which image "${id}" is: ${candidates.join(', ')} and possibly more start with it; give more digits`,
    });
  }
}

export class ImageInUseError extends ThawError {
  constructor(manifestId: string, functionNames: readonly string[]) {
    super({
      code: 'ERR_CATALOG_IMAGE_IN_USE',
      fault: 'caller',
      message: `Cannot remove image "${manifestId}": used by function ${functionNames.map((name) => `"${name}"`).join(', ')}; remove that first`,
    });
  }
}

export class FunctionExistsError extends ThawError {
  constructor(tenant: string, name: string) {
    super({
      code: 'ERR_CATALOG_FUNCTION_EXISTS',
      fault: 'caller',
      message: `Cannot create function "${name}": tenant "${tenant}" has one of that name; remove it first or choose another name`,
    });
  }
}

export class NoSuchImageError extends ThawError {
  constructor(tenant: string, manifestId: string) {
    super({
      code: 'ERR_CATALOG_NO_SUCH_IMAGE',
      fault: 'caller',
      message: `Cannot find image "${manifestId}": tenant "${tenant}" has none of that id; publish it first`,
    });
  }
}

export class NoSuchRootError extends ThawError {
  constructor(message: string) {
    super({ code: 'ERR_CATALOG_NO_SUCH_ROOT', fault: 'environment', message });
  }
}

export class NoSuchFunctionError extends ThawError {
  constructor(of: { readonly tenant: string; readonly name: string; readonly version?: string }) {
    const version = of.version === undefined ? '' : ` version "${of.version}" of`;
    super({
      code: 'ERR_CATALOG_NO_SUCH_FUNCTION',
      fault: 'caller',
      message: `Cannot find${version} function "${of.name}": tenant "${of.tenant}" has none; "thaw function ls" lists those there are`,
    });
  }
}

export class RevisionChangedError extends ThawError {
  constructor(name: string, given: string) {
    super({
      code: 'ERR_CATALOG_REVISION_CHANGED',
      fault: 'caller',
      message: `Cannot change "${name}": revision "${given}" is no longer the current one; read it again`,
    });
  }
}

export class VersionInUseError extends ThawError {
  constructor(of: { readonly name: string; readonly version: string }, aliases: readonly string[]) {
    const names = aliases.map((alias) => `"${alias}"`).join(', ');
    super({
      code: 'ERR_CATALOG_VERSION_IN_USE',
      fault: 'caller',
      message: `Cannot remove version "${of.version}" of function "${of.name}": named by alias ${names}; change that first`,
    });
  }
}

export class AliasExistsError extends ThawError {
  constructor(functionName: string, name: string) {
    super({
      code: 'ERR_CATALOG_ALIAS_EXISTS',
      fault: 'caller',
      message: `Cannot create alias "${name}": function "${functionName}" has one of that name; update it or choose another name`,
    });
  }
}

export class NoSuchAliasError extends ThawError {
  constructor(functionName: string, name: string) {
    super({
      code: 'ERR_CATALOG_NO_SUCH_ALIAS',
      fault: 'caller',
      message: `Cannot find alias "${name}": function "${functionName}" has none of that name; create it first`,
    });
  }
}

export class TenantExistsError extends ThawError {
  constructor(name: string) {
    super({
      code: 'ERR_CATALOG_TENANT_EXISTS',
      fault: 'caller',
      message: `Cannot create tenant "${name}": there is one of that name; use it or choose another name`,
    });
  }
}

export class NoSuchTenantError extends ThawError {
  constructor(name: string) {
    super({
      code: 'ERR_CATALOG_NO_SUCH_TENANT',
      fault: 'caller',
      message: `Cannot find tenant "${name}": "thaw tenant create" makes it`,
    });
  }
}
