/**
 * Settings of Lambda that Thaw has not. One that asks for something is refused rather than passed over: nobody should take a
 * function for encrypted with his own key or connected to his network that is not. What only says "none" is let through.
 */

import { architecture } from './function-shapes.ts';
import type { JsonFields } from './json-fields.ts';
import { LambdaError } from './lambda-error.ts';

/** True if the member asks for something. */
type Asks = (fields: JsonFields) => boolean;

const filled =
  (name: string): Asks =>
  (fields) =>
    (fields.strings(name)?.length ?? 0) > 0;
const said =
  (name: string): Asks =>
  (fields) =>
    (fields.string(name) ?? '') !== '';
const within =
  (name: string, asks: Asks): Asks =>
  (fields) => {
    const inner = fields.object(name);
    return inner !== undefined && asks(inner);
  };
const other =
  (name: string, neutral: string): Asks =>
  (fields) =>
    (fields.string(name) ?? neutral) !== neutral;

const unsupported: Readonly<Record<string, Asks>> = {
  VpcConfig: within(
    'VpcConfig',
    (vpc) => filled('SubnetIds')(vpc) || filled('SecurityGroupIds')(vpc),
  ),
  DeadLetterConfig: within('DeadLetterConfig', said('TargetArn')),
  KMSKeyArn: said('KMSKeyArn'),
  SourceKMSKeyArn: said('SourceKMSKeyArn'),
  TracingConfig: within('TracingConfig', other('Mode', 'PassThrough')),
  Layers: filled('Layers'),
  FileSystemConfigs: (fields) => fields.hasItems('FileSystemConfigs'),
  CodeSigningConfigArn: said('CodeSigningConfigArn'),
  SnapStart: within('SnapStart', other('ApplyOn', 'None')),
  LoggingConfig: within(
    'LoggingConfig',
    (logging) => other('LogFormat', 'Text')(logging) || said('LogGroup')(logging),
  ),
  TenancyConfig: (fields) => fields.has('TenancyConfig'),
  CapacityProviderConfig: (fields) => fields.has('CapacityProviderConfig'),
  DurableConfig: (fields) => fields.has('DurableConfig'),
  PublishTo: said('PublishTo'),
};

/** Throws `LambdaError` of `InvalidParameterValueException`. */
export function refuseUnsupported(fields: JsonFields): void {
  for (const [name, asks] of Object.entries(unsupported)) {
    if (!asks(fields)) continue;
    throw new LambdaError(
      'InvalidParameterValueException',
      `${name} is not supported by Thaw: leave it out`,
    );
  }
  const architectures = fields.strings('Architectures') ?? [architecture];
  if (architectures.length === 1 && architectures[0] === architecture) return;
  throw new LambdaError(
    'InvalidParameterValueException',
    `Architectures must be [${architecture}]: this worker runs no others`,
  );
}
