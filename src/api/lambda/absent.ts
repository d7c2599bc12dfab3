/**
 * Operations of Lambda that Thaw has not. Tools read what they might find before they do anything, so reading answers as Lambda
 * answers where there is nothing; making anything is refused by what says why.
 */

import { defined } from '../../base/index.ts';
import { LambdaError, type LambdaErrorType } from './lambda-error.ts';
import { arnOf, functionOf, ok, type Operation } from './operation.ts';

type Run = Operation['run'];

const nothingThere = (type: LambdaErrorType, message: string): Run => {
  return async () => {
    throw new LambdaError(type, message);
  };
};
const missing = nothingThere(
  'ResourceNotFoundException',
  'The resource you requested does not exist.',
);
const refused = (what: string): Run =>
  nothingThere('InvalidParameterValueException', `Thaw does not have ${what}`);
const emptyList =
  (member: string): Run =>
  async () =>
    ok({ [member]: [] });
/** For a function that is there. */
const constant =
  (shape: (arn: string) => object): Run =>
  async (call) => {
    const of = functionOf(call);
    await call.functions.find(of);
    return ok(shape(arnOf(call, of)));
  };
const operation = (name: string, target: string, run: Run): Operation => {
  const [method = '', path = ''] = target.split(' ');
  return { name, method: method as Operation['method'], path, run };
};

const policies = refused('resource policies by ARN: AddPermission makes one');
const mappings = refused('event source mappings');
const layers = refused('layers');
const signing = refused('code signing');
const provisioned = refused('provisioned concurrency');
const providers = refused('capacity providers');
const durable = refused('durable executions');
const noProvisioned = nothingThere(
  'ProvisionedConcurrencyConfigNotFoundException',
  'No Provisioned Concurrency Config found for this function',
);

const functionAt = (version: string): string => `/${version}/functions/{FunctionName}`;
const mapping = '/2015-03-31/event-source-mappings';
const layerVersions = '/2018-10-31/layers/{LayerName}/versions';
const layerVersion = `${layerVersions}/{VersionNumber}`;
const signingConfigs = '/2020-04-22/code-signing-configs';
const signingConfig = `${signingConfigs}/{CodeSigningConfigArn}`;
const functionSigning = `${functionAt('2020-06-30')}/code-signing-config`;
const provisionedPath = `${functionAt('2019-09-30')}/provisioned-concurrency`;
const runtimeManagement = `${functionAt('2021-07-20')}/runtime-management-config`;
const recursion = `${functionAt('2024-08-31')}/recursion-config`;
const capacity = '/2025-11-30/capacity-providers';
const capacityProvider = `${capacity}/{CapacityProviderName}`;
const scaling = `${functionAt('2025-11-30')}/function-scaling-config`;
const execution = '/2025-12-01/durable-executions/{DurableExecutionArn}';
const callback = '/2025-12-01/durable-execution-callbacks/{CallbackId}';
const resourcePolicy = '/2026-07-09/resource-policy/{ResourceArn}';

export const absentOperations: readonly Operation[] = [
  operation('GetResourcePolicy', `GET ${resourcePolicy}`, missing),
  operation('PutResourcePolicy', `PUT ${resourcePolicy}`, policies),
  operation('DeleteResourcePolicy', `DELETE ${resourcePolicy}`, missing),

  operation('ListEventSourceMappings', `GET ${mapping}`, emptyList('EventSourceMappings')),
  operation('CreateEventSourceMapping', `POST ${mapping}`, mappings),
  operation('GetEventSourceMapping', `GET ${mapping}/{UUID}`, missing),
  operation('UpdateEventSourceMapping', `PUT ${mapping}/{UUID}`, missing),
  operation('DeleteEventSourceMapping', `DELETE ${mapping}/{UUID}`, missing),

  // GetLayerVersionByArn is called at the same place, and told apart by its query.
  operation('ListLayers', 'GET /2018-10-31/layers', async (call) => {
    if (call.query.get('find') === 'LayerVersion') return await missing(call);
    return ok({ Layers: [] });
  }),
  operation('ListLayerVersions', `GET ${layerVersions}`, emptyList('LayerVersions')),
  operation('PublishLayerVersion', `POST ${layerVersions}`, layers),
  operation('GetLayerVersion', `GET ${layerVersion}`, missing),
  operation('DeleteLayerVersion', `DELETE ${layerVersion}`, missing),
  operation('GetLayerVersionPolicy', `GET ${layerVersion}/policy`, missing),
  operation('AddLayerVersionPermission', `POST ${layerVersion}/policy`, missing),
  operation('RemoveLayerVersionPermission', `DELETE ${layerVersion}/policy/{StatementId}`, missing),

  operation('ListCodeSigningConfigs', `GET ${signingConfigs}`, emptyList('CodeSigningConfigs')),
  operation('CreateCodeSigningConfig', `POST ${signingConfigs}`, signing),
  operation('GetCodeSigningConfig', `GET ${signingConfig}`, missing),
  operation('UpdateCodeSigningConfig', `PUT ${signingConfig}`, missing),
  operation('DeleteCodeSigningConfig', `DELETE ${signingConfig}`, missing),
  operation('ListFunctionsByCodeSigningConfig', `GET ${signingConfig}/functions`, missing),
  operation(
    'GetFunctionCodeSigningConfig',
    `GET ${functionSigning}`,
    constant(() => ({})),
  ),
  operation('PutFunctionCodeSigningConfig', `PUT ${functionSigning}`, signing),
  operation('DeleteFunctionCodeSigningConfig', `DELETE ${functionSigning}`, missing),

  // ListProvisionedConcurrencyConfigs as well.
  operation('GetProvisionedConcurrencyConfig', `GET ${provisionedPath}`, async (call) => {
    await call.functions.find(functionOf(call));
    if (call.query.get('List') !== 'ALL') return await noProvisioned(call);
    return ok({ ProvisionedConcurrencyConfigs: [] });
  }),
  operation('PutProvisionedConcurrencyConfig', `PUT ${provisionedPath}`, provisioned),
  operation('DeleteProvisionedConcurrencyConfig', `DELETE ${provisionedPath}`, noProvisioned),

  operation(
    'GetRuntimeManagementConfig',
    `GET ${runtimeManagement}`,
    constant((arn) => defined({ UpdateRuntimeOn: 'Auto', FunctionArn: arn })),
  ),
  operation('PutRuntimeManagementConfig', `PUT ${runtimeManagement}`, refused('managed runtimes')),
  operation(
    'GetFunctionRecursionConfig',
    `GET ${recursion}`,
    constant(() => ({ RecursiveLoop: 'Allow' })),
  ),
  operation('PutFunctionRecursionConfig', `PUT ${recursion}`, refused('recursion detection')),

  operation('ListCapacityProviders', `GET ${capacity}`, emptyList('CapacityProviders')),
  operation('CreateCapacityProvider', `POST ${capacity}`, providers),
  operation('GetCapacityProvider', `GET ${capacityProvider}`, missing),
  operation('UpdateCapacityProvider', `PUT ${capacityProvider}`, missing),
  operation('DeleteCapacityProvider', `DELETE ${capacityProvider}`, missing),
  operation(
    'ListFunctionVersionsByCapacityProvider',
    `GET ${capacityProvider}/function-versions`,
    missing,
  ),
  operation('GetFunctionScalingConfig', `GET ${scaling}`, missing),
  operation('PutFunctionScalingConfig', `PUT ${scaling}`, providers),

  operation(
    'ListDurableExecutionsByFunction',
    `GET ${functionAt('2025-12-01')}/durable-executions`,
    emptyList('DurableExecutions'),
  ),
  operation('GetDurableExecution', `GET ${execution}`, missing),
  operation('GetDurableExecutionHistory', `GET ${execution}/history`, missing),
  operation('GetDurableExecutionState', `GET ${execution}/state`, missing),
  operation('CheckpointDurableExecution', `POST ${execution}/checkpoint`, missing),
  operation('StopDurableExecution', `POST ${execution}/stop`, missing),
  operation('SendDurableExecutionCallbackSuccess', `POST ${callback}/succeed`, durable),
  operation('SendDurableExecutionCallbackFailure', `POST ${callback}/fail`, durable),
  operation('SendDurableExecutionCallbackHeartbeat', `POST ${callback}/heartbeat`, durable),
];
