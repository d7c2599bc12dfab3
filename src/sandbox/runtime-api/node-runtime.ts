/** Where Thaw's own Node runtime lies, for those who put it into an image. */

import { fileURLToPath } from 'node:url';

/**
 * One file without dependencies, run by any Node from 18 on: `node bootstrap.mjs`. It serves the
 * handler that `_HANDLER` names in `LAMBDA_TASK_ROOT` through the Runtime API at
 * `AWS_LAMBDA_RUNTIME_API`.
 */
export const nodeRuntimeBootstrapPath = fileURLToPath(
  new URL('../node-runtime/bootstrap.mjs', import.meta.url),
);
