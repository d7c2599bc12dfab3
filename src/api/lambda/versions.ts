/** Published versions of functions. */

import { defined } from '../../base/index.ts';
import { functionArn } from './function-name.ts';
import { configuration, configurationInList } from './function-shapes.ts';
import {
  created,
  fieldsOf,
  ok,
  wholeFunctionOf,
  type Answer,
  type Call,
  type Operation,
} from './operation.ts';
import { pageAnswer, pageRequest } from './page-request.ts';

const path = '/2015-03-31/functions/{FunctionName}/versions';

export const versionOperations: readonly Operation[] = [
  { name: 'PublishVersion', method: 'POST', path, run: publishVersion },
  { name: 'ListVersionsByFunction', method: 'GET', path, run: listVersions },
];

async function publishVersion(call: Call): Promise<Answer> {
  const fields = fieldsOf(call);
  const { record } = await call.functions.publishVersion(
    wholeFunctionOf(call),
    defined({
      description: fields.string('Description'),
      codeSha256: fields.string('CodeSha256') || undefined,
      revisionId: fields.string('RevisionId') || undefined,
    }),
  );
  return created(configuration(call.scope, record));
}

/** Here alone `$LATEST` has its qualifier in its ARN unasked. */
async function listVersions(call: Call): Promise<Answer> {
  const page = await call.functions.listVersions(wholeFunctionOf(call), pageRequest(call.query));
  const shape = (record: (typeof page.items)[number]): object => ({
    ...configurationInList(call.scope, record),
    FunctionArn: functionArn(call.scope, { name: record.name, qualifier: record.version }),
  });
  return ok(pageAnswer('Versions', page, shape));
}
