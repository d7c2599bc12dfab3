/** Where a module's neighbour is, for starting it as a thread or a process. */

/**
 * The URL of the module `name` (without extension) beside the module that calls. Development runs `.ts`, a
 * published package `.js`, and nobody rewrites URLs between the two: the caller's own extension tells.
 */
export function neighbourModule(importMetaUrl: string, name: string): URL {
  const extension = importMetaUrl.endsWith('.ts') ? 'ts' : 'js';
  return new URL(`./${name}.${extension}`, importMetaUrl);
}
