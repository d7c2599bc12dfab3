/**
 * Holds what the API answers against the model in AWS's SDK, which passes over members that it does not know: a misspelt one
 * would be found by nobody.
 */

import { buffer } from 'node:stream/consumers';
import { Readable } from 'node:stream';

import * as sdk from '@aws-sdk/client-lambda';
import type { LambdaClient } from '@aws-sdk/client-lambda';

/** A schema of the SDK: a list whose first item is its kind, or a number, or either behind a function or with traits. */
type Schema = unknown;

const kinds = { list: 1, map: 2, structure: 3, operation: 9 } as const;

/** What is behind functions, and without the traits of a member. */
function resolved(schema: Schema): Schema {
  if (typeof schema === 'function') return resolved((schema as () => Schema)());
  const isMember = Array.isArray(schema) && schema.length === 2;
  return isMember ? resolved((schema as readonly Schema[])[0]) : schema;
}

/** Paths of members that the schema does not have. */
function strangers(value: unknown, schema: Schema, path: string): readonly string[] {
  const found = resolved(schema);
  if (!Array.isArray(found) || typeof value !== 'object' || value === null) return [];
  const [kind, , , , ...rest] = found as readonly Schema[];
  if (kind === kinds.list) {
    return (value as readonly unknown[]).flatMap((item) => strangers(item, rest[0], `${path}[]`));
  }
  const entries = Object.entries(value);
  if (kind === kinds.map)
    return entries.flatMap(([, item]) => strangers(item, rest[1], `${path}{}`));
  if (kind !== kinds.structure) return [];
  const [names, schemas] = rest as [readonly string[], readonly Schema[]];
  return entries.flatMap(([name, member]) => {
    const at = names.indexOf(name);
    return at === -1 ? [`${path}.${name}`] : strangers(member, schemas[at], `${path}.${name}`);
  });
}

/** From now on a JSON answer that has a member which the model has not makes its call fail. */
export function checkAnswers(client: LambdaClient): void {
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const result = await next(args);
      const response = result.response as {
        statusCode: number;
        headers: Record<string, string>;
        body: Readable;
      };
      const operation = String((context as { commandName?: string }).commandName).replace(
        /Command$/,
        '',
      );
      // The answer of an invoke is the function's own.
      const isJson = response.headers['content-type'] === 'application/json';
      if (!isJson || response.statusCode >= 300 || operation === 'Invoke') return result;
      const body = await buffer(response.body);
      response.body = Readable.from([body], { objectMode: false });
      const schema = (sdk as Record<string, unknown>)[`${operation}$`] as readonly Schema[];
      const unknown = strangers(JSON.parse(body.toString()), schema[5], operation);
      if (unknown.length > 0) throw new Error(`The model does not know ${unknown.join(', ')}`);
      return result;
    },
    { step: 'deserialize', priority: 'low', name: 'checkAnswers' },
  );
}
