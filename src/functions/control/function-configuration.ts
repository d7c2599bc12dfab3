/** A function's configuration, changed as asked for. */

import { defined } from '../../base/index.ts';
import type { FunctionCode, FunctionRecord } from '../../catalog/index.ts';
import { FunctionBadConfigError } from '../errors.ts';
import type { FunctionConfigurationRequest } from '../function-control.ts';

/** The request was checked before. Throws `ERR_FUNCTION_BAD_CONFIG` for what an image or an archive cannot have. */
export function configured(
  record: FunctionRecord,
  request: FunctionConfigurationRequest,
): FunctionRecord {
  const { imageConfig, webServer } = request;
  const { description, role, memoryMb, timeoutSeconds, ephemeralStorageMb, environment, network } =
    request;
  const { entrypoint, command, workingDir, webServer: serverBefore, ...others } = record;
  const overrides = imageConfig ?? { entrypoint, command, workingDir };
  if (record.code.packageType === 'Zip' && Object.keys(imageConfig ?? {}).length > 0) {
    throw new FunctionBadConfigError(record.name, 'a zip archive has no ImageConfig; leave it out');
  }
  return {
    ...others,
    ...defined({ description, role, memoryMb, timeoutSeconds, ephemeralStorageMb }),
    ...defined({ environment, network }),
    ...defined({
      entrypoint: overrides.entrypoint,
      command: overrides.command,
      workingDir: overrides.workingDir,
    }),
    ...(webServer === null ? {} : defined({ webServer: webServer ?? serverBefore })),
    code: codeWith(record, request),
  };
}

function codeWith(
  { name, code }: FunctionRecord,
  { runtime, handler }: FunctionConfigurationRequest,
): FunctionCode {
  if (code.packageType === 'Zip') return { ...code, ...defined({ runtime, handler }) };
  if (runtime === undefined && handler === undefined) return code;
  throw new FunctionBadConfigError(
    name,
    'an image has its own runtime and handler; leave them out',
  );
}
