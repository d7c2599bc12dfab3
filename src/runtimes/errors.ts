/** What can be wrong with a runtime. */

import { ThawError } from '../base/index.ts';

/** Not among those that this machine can make, in Lambda's words. */
export class RuntimeUnknownError extends ThawError {
  constructor(runtime: string, known: readonly string[]) {
    super({
      code: 'ERR_RUNTIMES_UNKNOWN',
      fault: 'caller',
      message:
        `Value ${runtime.slice(0, 100)} at 'runtime' failed to satisfy constraint: ` +
        `Member must satisfy enum value set: [${known.join(', ')}] or be a valid ARN`,
      details: { httpStatus: 400, lambdaError: 'InvalidParameterValueException' },
    });
  }
}
