/** Functions as Lambda's answers show them. Source: AWS Lambda API reference, FunctionConfiguration, GetFunction. */

import { defined } from '../../base/index.ts';
import { latestVersion, type FunctionRecord } from '../../catalog/index.ts';
import type { FunctionDescription } from '../../functions/index.ts';
import { functionArn, versionArn, type ArnScope } from './function-name.ts';
import { tagsShown } from './thaw-tags.ts';

/** Of this machine, and so of every function on it. */
export const architecture = process.arch === 'arm64' ? 'arm64' : 'x86_64';

/** `2026-01-31T12:34:56.789+0000` */
export function lambdaTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '+0000');
}

/** What lists show of a version: all but its states. */
export function configurationInList(scope: ArnScope, record: FunctionRecord): object {
  const { code } = record;
  return defined({
    FunctionName: record.name,
    FunctionArn: versionArn(scope, record),
    Runtime: code.packageType === 'Zip' ? code.runtime : undefined,
    Role: record.role,
    Handler: code.packageType === 'Zip' ? code.handler : undefined,
    CodeSize: record.codeSizeBytes,
    Description: record.description,
    Timeout: record.timeoutSeconds,
    MemorySize: record.memoryMb,
    LastModified: lambdaTime(record.updatedAtMs),
    CodeSha256: record.codeSha256,
    Version: record.version,
    Environment:
      Object.keys(record.environment).length === 0 ? undefined : { Variables: record.environment },
    TracingConfig: { Mode: 'PassThrough' },
    RevisionId: record.revisionId,
    PackageType: code.packageType,
    ImageConfigResponse: imageConfigResponse(record),
    Architectures: [architecture],
    EphemeralStorage: { Size: record.ephemeralStorageMb },
    SnapStart: { ApplyOn: 'None', OptimizationStatus: 'Off' },
    LoggingConfig: { LogFormat: 'Text', LogGroup: `/aws/lambda/${record.name}` },
  });
}

/** With `$LATEST`, a version or an alias in the ARN where it was asked for by that. */
export function configuration(scope: ArnScope, record: FunctionRecord, qualifier?: string): object {
  const { name, version } = record;
  const inArn = qualifier ?? (version === latestVersion ? undefined : version);
  return {
    ...configurationInList(scope, record),
    ...defined({
      FunctionArn: functionArn(scope, inArn === undefined ? { name } : { name, qualifier: inArn }),
      State: record.state,
      StateReason: record.stateReason?.message,
      StateReasonCode: record.stateReason?.code,
      LastUpdateStatus: record.lastUpdateStatus,
      LastUpdateStatusReason: record.lastUpdateReason?.message,
      LastUpdateStatusReasonCode: record.lastUpdateReason?.code,
    }),
  };
}

/** The answer of GetFunction. `codeUrl`: of its zip archive. */
export function functionAnswer(
  scope: ArnScope,
  { record, settings }: FunctionDescription,
  { qualifier, codeUrl }: { readonly qualifier: string | undefined; readonly codeUrl: string },
): object {
  const { reservedConcurrency } = settings;
  const tags = tagsShown(record, settings);
  return defined({
    Configuration: configuration(scope, record, qualifier),
    Code: codeLocation(record, codeUrl),
    Tags: Object.keys(tags).length === 0 ? undefined : tags,
    Concurrency:
      reservedConcurrency === undefined
        ? undefined
        : { ReservedConcurrentExecutions: reservedConcurrency },
  });
}

function imageConfigResponse({
  entrypoint,
  command,
  workingDir,
}: FunctionRecord): object | undefined {
  if (entrypoint === undefined && command === undefined && workingDir === undefined) {
    return undefined;
  }
  const parts = { EntryPoint: entrypoint, Command: command, WorkingDirectory: workingDir };
  return { ImageConfig: defined(parts) };
}

/** An image is where its owner has it. */
function codeLocation({ code }: FunctionRecord, codeUrl: string): object {
  if (code.packageType === 'Zip') return { RepositoryType: 'S3', Location: codeUrl };
  const { imageUri, manifestId } = code;
  return defined({ RepositoryType: 'ECR', ImageUri: imageUri, ResolvedImageUri: manifestId });
}
