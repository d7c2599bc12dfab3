/**
 * Publishes one image as the command does, in a process of its own, and prints what it took: `STATE SOURCE`. The time leaves
 * out Node's own start, which `thaw serve` pays once; the memory is the process's peak, threads and start included.
 */

import { createLog } from '../../src/base/index.ts';
import { createWorker } from '../../src/cli/compose.ts';
import { loadConfig } from '../../src/cli/config.ts';

export interface Published {
  readonly elapsedMs: number;
  /** `VmHWM`. */
  readonly peakBytes: number;
  readonly manifestId: string;
  readonly fileCount: number;
  readonly contentBytes: number;
  readonly chunkCount: number;
  readonly storedBytes: number;
  readonly layers: { readonly total: number; readonly known: number; readonly fetched: number };
}

const [state = '', source = ''] = process.argv.slice(2);
const startedMs = performance.now();
const config = await loadConfig({ root: state }, {});
await using worker = await createWorker(config, createLog({ level: 'warn' }), { agentLife: 'own' });
const { image, layers } = await worker.convertImage({ source, tenant: 'bench' });
const published: Published = {
  elapsedMs: performance.now() - startedMs,
  peakBytes: process.resourceUsage().maxRSS * 1024,
  manifestId: image.manifestId,
  fileCount: image.fileCount,
  contentBytes: image.contentBytes,
  chunkCount: image.chunkCount,
  storedBytes: image.storedBytes,
  layers,
};
process.stdout.write(JSON.stringify(published));
