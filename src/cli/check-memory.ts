import { totalmem } from 'node:os';

import type { Config } from './config.ts';
import { EnvironmentError } from './errors.ts';
import { formatBytes } from './format.ts';

/**
 * Throws `ERR_CLI_ENVIRONMENT` if this machine has no memory for the chunks that the configuration keeps there: an agent could not
 * allocate it, and would end and be started again and again.
 */
export function checkMemory(
  { cacheMemoryBytes }: Pick<Config, 'cacheMemoryBytes'>,
  machineBytes: number = totalmem(),
): void {
  if (cacheMemoryBytes < machineBytes) return;
  throw new EnvironmentError(
    `Cannot keep ${formatBytes(cacheMemoryBytes)} of chunks in memory: this machine has ${formatBytes(machineBytes)}; ` +
      'lower "cache.memory_bytes"',
  );
}
