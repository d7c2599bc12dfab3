/**
 * Resource policies: who else may call a function, as its owner says. They are kept and given back, for the tools that set them, and
 * decide nothing here: only a tenant's own keys call its functions, whatever is permitted to others.
 * Source: AWS Lambda API reference, AddPermission, GetPolicy, RemovePermission; developer guide, "Resource-based IAM policies".
 */

import { defined } from '../../base/index.ts';
import { latestVersion, type FunctionPolicy, type Permission } from '../../catalog/index.ts';
import type { FunctionRef } from '../../functions/index.ts';
import type { JsonFields } from './json-fields.ts';
import { LambdaError } from './lambda-error.ts';
import {
  arnOf,
  created,
  fieldsOf,
  foundOr,
  functionOf,
  label,
  noContent,
  ok,
  type Answer,
  type Call,
  type Operation,
} from './operation.ts';

const path = '/2015-03-31/functions/{FunctionName}/policy';

export const permissionOperations: readonly Operation[] = [
  { name: 'AddPermission', method: 'POST', path, run: addPermission },
  { name: 'GetPolicy', method: 'GET', path, run: getPolicy },
  {
    name: 'RemovePermission',
    method: 'DELETE',
    path: `${path}/{StatementId}`,
    run: removePermission,
  },
];

/** Of a policy, as JSON. Source: Lambda quotas, "Function resource-based policy". */
const policySizeMaxBytes = 20_480;

async function addPermission(call: Call): Promise<Answer> {
  const of = functionOf(call);
  const fields = fieldsOf(call);
  const added = permissionIn(fields);
  const revisionId = fields.string('RevisionId');
  if (of.qualifier === latestVersion) {
    throw invalid('We currently do not support adding policies for $LATEST.');
  }
  await call.functions.changePolicy(of, (policy) => {
    checkRevision(policy, revisionId);
    const { permissions = [] } = policy ?? {};
    if (permissions.some(({ statementId }) => statementId === added.statementId)) {
      throw new LambdaError(
        'ResourceConflictException',
        `The statement id (${added.statementId}) provided already exists. ` +
          'Please provide a new statement id, or remove the existing statement.',
      );
    }
    const after = [...permissions, added];
    checkSize(call, of, after);
    return after;
  });
  return created({ Statement: JSON.stringify(statementOf(call, of, added)) });
}

async function getPolicy(call: Call): Promise<Answer> {
  const of = functionOf(call);
  const words = 'The resource you requested does not exist.';
  const { settings } = await foundOr(call, of, words);
  const key = of.qualifier ?? '';
  const policy = Object.hasOwn(settings.policies, key) ? settings.policies[key] : undefined;
  if (policy === undefined) throw new LambdaError('ResourceNotFoundException', words);
  return ok({
    Policy: policyText(call, of, policy.permissions),
    RevisionId: policy.revisionId,
  });
}

async function removePermission(call: Call): Promise<Answer> {
  const of = functionOf(call);
  const removedId = label(call, 'StatementId');
  await call.functions.changePolicy(of, (policy) => {
    if (policy === undefined) {
      const words = `No policy is associated with the given resource: ${arnOf(call, of)}`;
      throw new LambdaError('ResourceNotFoundException', words);
    }
    checkRevision(policy, call.query.get('RevisionId') ?? undefined);
    const after = policy.permissions.filter(({ statementId }) => statementId !== removedId);
    if (after.length < policy.permissions.length) return after;
    const words = `Statement ${removedId} is not found in resource policy.`;
    throw new LambdaError('ResourceNotFoundException', words);
  });
  return noContent;
}

/** What the model says of a member's text. */
interface Form {
  readonly pattern: RegExp;
  readonly lengthMax?: number;
}

/** Regions are called as their owner likes here, so those of ARNs too. */
const forms = {
  StatementId: { pattern: /^[a-zA-Z0-9-_]+$/, lengthMax: 100 },
  Action: { pattern: /^(lambda:[*]|lambda:[a-zA-Z]+|[*])$/ },
  Principal: { pattern: /^[^\s]+$/ },
  SourceArn: { pattern: /^arn:aws[a-zA-Z0-9-]*:[a-zA-Z0-9-]+:[a-zA-Z0-9-]*:(\d{12})?:.*$/ },
  SourceAccount: { pattern: /^\d{12}$/ },
  EventSourceToken: { pattern: /^[a-zA-Z0-9._-]+$/, lengthMax: 256 },
  PrincipalOrgID: { pattern: /^o-[a-z0-9]{10,32}$/ },
} as const satisfies Readonly<Record<string, Form>>;

function permissionIn(fields: JsonFields): Permission {
  const text = (name: keyof typeof forms) => fields.matching(name, forms[name]);
  const required = (name: keyof typeof forms): string => {
    fields.requiredString(name);
    return text(name) ?? '';
  };
  const urlAuthType = fields.oneOf('FunctionUrlAuthType', ['NONE', 'AWS_IAM']);
  const action = required('Action');
  if (urlAuthType !== undefined && action !== 'lambda:InvokeFunctionUrl') {
    throw invalid('FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action');
  }
  return {
    statementId: required('StatementId'),
    action,
    principal: required('Principal'),
    ...defined({
      sourceArn: text('SourceArn'),
      sourceAccount: text('SourceAccount'),
      eventSourceToken: text('EventSourceToken'),
      principalOrgId: text('PrincipalOrgID'),
      urlAuthType,
      viaUrl: fields.boolean('InvokedViaFunctionUrl'),
    }),
  };
}

/** As Lambda writes it. */
function statementOf(call: Call, of: FunctionRef, permission: Permission): object {
  const condition = conditionOf(permission);
  return {
    Sid: permission.statementId,
    Effect: 'Allow',
    Principal: principalOf(permission.principal),
    Action: permission.action,
    Resource: arnOf(call, of),
    ...(Object.keys(condition).length > 0 && { Condition: condition }),
  };
}

function principalOf(principal: string): unknown {
  if (principal === '*') return '*';
  if (/^\d{12}$/.test(principal)) return { AWS: `arn:aws:iam::${principal}:root` };
  return principal.startsWith('arn:') ? { AWS: principal } : { Service: principal };
}

function conditionOf(permission: Permission): object {
  const { sourceArn, sourceAccount, eventSourceToken, principalOrgId, urlAuthType, viaUrl } =
    permission;
  const equal = defined({
    'lambda:FunctionUrlAuthType': urlAuthType,
    'lambda:EventSourceToken': eventSourceToken,
    'AWS:SourceAccount': sourceAccount,
    'aws:PrincipalOrgID': principalOrgId,
  });
  return {
    ...(Object.keys(equal).length > 0 && { StringEquals: equal }),
    ...(viaUrl !== undefined && { Bool: { 'lambda:InvokedViaFunctionUrl': String(viaUrl) } }),
    ...(sourceArn !== undefined && { ArnLike: { 'AWS:SourceArn': sourceArn } }),
  };
}

function policyText(call: Call, of: FunctionRef, permissions: readonly Permission[]): string {
  const Statement = permissions.map((permission) => statementOf(call, of, permission));
  return JSON.stringify({ Version: '2012-10-17', Id: 'default', Statement });
}

function checkSize(call: Call, of: FunctionRef, permissions: readonly Permission[]): void {
  const sizeBytes = Buffer.byteLength(policyText(call, of, permissions));
  if (sizeBytes <= policySizeMaxBytes) return;
  throw new LambdaError(
    'PolicyLengthExceededException',
    `The final policy size (${sizeBytes}) is bigger than the limit (${policySizeMaxBytes}).`,
  );
}

function checkRevision(policy: FunctionPolicy | undefined, given: string | undefined): void {
  if (given === undefined || given === policy?.revisionId) return;
  throw new LambdaError(
    'PreconditionFailedException',
    'The Revision Id provided does not match the latest Revision Id. Call the GetPolicy API to retrieve the latest Revision Id',
  );
}

function invalid(words: string): LambdaError {
  return new LambdaError('InvalidParameterValueException', words);
}
