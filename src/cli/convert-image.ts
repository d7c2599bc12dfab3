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
  const { leftOutXattrs, primed } = result;
  if (Object.keys(leftOutXattrs).length > 0) {
    context.log.warn(
      'left out extended attributes that a disk of this image cannot have',
      leftOutXattrs,
    );
  }
  const shortfall = primingShortfall(primed);
  if (shortfall !== undefined) context.log.warn(shortfall);
  return result;
}

/** What the zone lacks of what was to be primed, and what that means; undefined if nothing. */
export function primingShortfall(primed: ConvertResult['primed']): string | undefined {
  if (primed === undefined || primed.failed === 0) return undefined;
  const { chunks, failed } = primed;
  return (
    `${failed} of ${chunks + failed} new chunks could not be written to the zone: the image is published, ` +
    'but its first start reads them from the origin'
  );
}
