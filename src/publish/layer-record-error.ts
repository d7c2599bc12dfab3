/** Why a layer record is not used. It never leaves this room: the layer is read instead. */

import { ThawError } from '../base/index.ts';

export class LayerRecordError extends ThawError {
  constructor(why: string, cause?: unknown) {
    super({
      code: 'ERR_PUBLISH_LAYER_RECORD',
      fault: 'data',
      message: `Cannot use what was remembered of a layer: ${why}; the layer is read again`,
      cause,
    });
  }
}
