/** Publishes for `image convert` and `function create`, and tells of what of the image a disk cannot have. */

import type { ConvertResult } from '../api/index.ts';
import type { CliContext } from './context.ts';
import { convertRequest, type ConvertOptions } from './convert-request.ts';

/** Throws `ERR_CLI_USAGE`, and what `Worker.convertImage` throws. */
export async function convertImage(
  context: CliContext,
  source: string,
  options: ConvertOptions,
): Promise<ConvertResult> {
  const worker = await context.worker();
  const result = await worker.convertImage(convertRequest(source, options), context.callOptions);
  const { leftOutXattrs } = result;
  if (Object.keys(leftOutXattrs).length > 0) {
    context.log.warn(
      'left out extended attributes that a disk of this image cannot have',
      leftOutXattrs,
    );
  }
  return result;
}
