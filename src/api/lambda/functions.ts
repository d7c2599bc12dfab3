/** Functions themselves: made, read, listed, changed, removed. */

import { defined, errorCode } from '../../base/index.ts';
import type { FunctionRecord, Page, PageRequest } from '../../catalog/index.ts';
import { parseFunctionName } from './function-name.ts';
import { configuration, configurationInList, functionAnswer } from './function-shapes.ts';
import type { JsonFields } from './json-fields.ts';
import { LambdaError } from './lambda-error.ts';
import {
  arnOf,
  created,
  fieldsOf,
  functionOf,
  noContent,
  ok,
  wholeFunctionOf,
  type Answer,
  type Call,
  type Operation,
} from './operation.ts';
import { pageAnswer, pageRequest } from './page-request.ts';
import { splitTags } from './thaw-tags.ts';
import { refuseUnsupported } from './unsupported-settings.ts';
import {
  configurationRanges as ranges,
  type FunctionCodeRequest,
  type FunctionConfigurationRequest,
} from '../../functions/index.ts';

/** A zip archive of 50 MiB in base64, and the rest. Lambda's own number, as its error says. */
export const codeBodyMaxBytes = 70_167_211;

const functionsPath = '/2015-03-31/functions';
const functionPath = `${functionsPath}/{FunctionName}`;

export const functionOperations: readonly Operation[] = [
  {
    name: 'CreateFunction',
    method: 'POST',
    path: functionsPath,
    bodyMaxBytes: codeBodyMaxBytes,
    run: createFunction,
  },
  { name: 'ListFunctions', method: 'GET', path: functionsPath, run: listFunctions },
  { name: 'GetFunction', method: 'GET', path: functionPath, run: getFunction },
  { name: 'DeleteFunction', method: 'DELETE', path: functionPath, run: deleteFunction },
  {
    name: 'GetFunctionConfiguration',
    method: 'GET',
    path: `${functionPath}/configuration`,
    run: getFunctionConfiguration,
  },
  {
    name: 'UpdateFunctionConfiguration',
    method: 'PUT',
    path: `${functionPath}/configuration`,
    run: updateFunctionConfiguration,
  },
  {
    name: 'UpdateFunctionCode',
    method: 'PUT',
    path: `${functionPath}/code`,
    bodyMaxBytes: codeBodyMaxBytes,
    run: updateFunctionCode,
  },
];

async function createFunction(call: Call): Promise<Answer> {
  const fields = fieldsOf(call);
  const { name } = parseFunctionName(fields.requiredString('FunctionName'), call.scope);
  call.isAbout({ name });
  refuseUnsupported(fields);
  const { tags, settings } = splitTags(fields.stringMap('Tags') ?? {}, call);
  const code = codeRequest(
    fields.requiredObject('Code'),
    fields.oneOf('PackageType', ['Zip', 'Image']),
  );
  const { record } = await call.functions.create({
    ...configurationRequest(fields),
    ...settings,
    tenant: call.tenant,
    name,
    code,
    tags,
    publish: fields.boolean('Publish') ?? false,
  });
  return created(configuration(call.scope, record));
}

async function getFunction(call: Call): Promise<Answer> {
  const of = functionOf(call);
  const description = await call.functions.find(of);
  const { tenant, name, version } = description.record;
  const codeUrl = call.codeUrlOf({ tenant, name, qualifier: version });
  return ok(functionAnswer(call.scope, description, { qualifier: of.qualifier, codeUrl }));
}

async function getFunctionConfiguration(call: Call): Promise<Answer> {
  const of = functionOf(call);
  const { record } = await call.functions.find(of);
  return ok(configuration(call.scope, record, of.qualifier));
}

async function listFunctions(call: Call): Promise<Answer> {
  const page = pageRequest(call.query);
  const isOfAllVersions = call.query.get('FunctionVersion') === 'ALL';
  const found = isOfAllVersions
    ? await listAllVersions(call, page)
    : await call.functions.list(call.tenant, page);
  return ok(pageAnswer('Functions', found, (record) => configurationInList(call.scope, record)));
}

/**
 * Every version of every function. Markers are `FUNCTION:VERSION`: from which function on, and from which of its versions; no
 * name has a colon.
 */
async function listAllVersions(
  { functions, tenant }: Call,
  { marker = ':', itemsMax }: PageRequest,
): Promise<Page<FunctionRecord>> {
  const items: FunctionRecord[] = [];
  let [functionMarker = '', versionMarker = ''] = marker.split(':');
  for (;;) {
    const page = await functions.list(tenant, from(functionMarker, 1));
    const [record] = page.items;
    if (record === undefined) return { items };
    const of = { tenant, name: record.name };
    const versions = await functions
      .listVersions(of, from(versionMarker, itemsMax - items.length))
      .catch(noneIfGone);
    items.push(...versions.items);
    if (versions.nextMarker !== undefined) {
      return { items, nextMarker: `${functionMarker}:${versions.nextMarker}` };
    }
    if (page.nextMarker === undefined) return { items };
    functionMarker = page.nextMarker;
    versionMarker = '';
    if (items.length >= itemsMax) return { items, nextMarker: `${functionMarker}:` };
  }
}

/** A function that is removed while it is listed has no versions. */
function noneIfGone(thrown: unknown): Page<FunctionRecord> {
  if (errorCode(thrown) !== 'ERR_FUNCTION_NOT_FOUND') throw thrown;
  return { items: [] };
}

function from(marker: string, itemsMax: number): PageRequest {
  return marker === '' ? { itemsMax } : { itemsMax, marker };
}

async function updateFunctionConfiguration(call: Call): Promise<Answer> {
  const of = wholeFunctionOf(call);
  const fields = fieldsOf(call);
  refuseUnsupported(fields);
  const options = defined({ revisionId: fields.string('RevisionId') });
  const change = configurationRequest(fields);
  const { record } = await call.functions.updateConfiguration(of, change, options);
  return ok(configuration(call.scope, record));
}

async function updateFunctionCode(call: Call): Promise<Answer> {
  const of = wholeFunctionOf(call);
  const fields = fieldsOf(call);
  refuseUnsupported(fields);
  const options = defined({
    revisionId: fields.string('RevisionId'),
    publish: fields.boolean('Publish'),
    dryRun: fields.boolean('DryRun'),
  });
  const { record } = await call.functions.updateCode(of, codeRequest(fields), options);
  return ok(configuration(call.scope, record));
}

async function deleteFunction(call: Call): Promise<Answer> {
  const of = functionOf(call);
  if (of.qualifier === '$LATEST') {
    throw new LambdaError(
      'InvalidParameterValueException',
      '$LATEST version cannot be deleted without deleting the function.',
    );
  }
  if (of.qualifier !== undefined && !/^\d+$/.test(of.qualifier)) {
    throw new LambdaError(
      'InvalidParameterValueException',
      `Deletion of aliases is not currently supported: delete ${arnOf(call, of)} with DeleteAlias.`,
    );
  }
  await call.functions.remove(of);
  return noContent;
}

function configurationRequest(fields: JsonFields): FunctionConfigurationRequest {
  const imageConfig = fields.object('ImageConfig');
  return defined({
    description: fields.string('Description'),
    role: fields.string('Role'),
    memoryMb: fields.integer('MemorySize', ranges.memoryMb),
    timeoutSeconds: fields.integer('Timeout', ranges.timeoutSeconds),
    ephemeralStorageMb: fields
      .object('EphemeralStorage')
      ?.integer('Size', ranges.ephemeralStorageMb),
    environment: environmentOf(fields),
    imageConfig:
      imageConfig === undefined
        ? undefined
        : defined({
            entrypoint: imageConfig.strings('EntryPoint'),
            command: imageConfig.strings('Command'),
            workingDir: imageConfig.string('WorkingDirectory'),
          }),
    runtime: fields.string('Runtime'),
    handler: fields.string('Handler'),
  });
}

/** `Environment: {}` empties it, as in Lambda. */
function environmentOf(fields: JsonFields): Readonly<Record<string, string>> | undefined {
  const environment = fields.object('Environment');
  return environment === undefined ? undefined : (environment.stringMap('Variables') ?? {});
}

function codeRequest(fields: JsonFields, packageType?: 'Zip' | 'Image'): FunctionCodeRequest {
  const imageUri = fields.string('ImageUri');
  const zipFile = fields.bytes('ZipFile');
  if (fields.has('S3Bucket') || fields.has('S3Key')) {
    throw refusal('Thaw reads no code from S3: send it as ZipFile or name it as ImageUri');
  }
  if (imageUri !== undefined && zipFile !== undefined) {
    throw refusal('Please do not provide other FunctionCode parameters when providing a ZipFile.');
  }
  if (imageUri !== undefined && packageType !== 'Zip') return { packageType: 'Image', imageUri };
  if (zipFile !== undefined && packageType !== 'Image') return { packageType: 'Zip', zipFile };
  throw refusal(
    packageType === 'Image'
      ? 'Please provide ImageUri when the PackageType is Image.'
      : 'Please provide a source for function code: ZipFile, or ImageUri with the PackageType Image.',
  );
}

function refusal(message: string): LambdaError {
  return new LambdaError('InvalidParameterValueException', message);
}
