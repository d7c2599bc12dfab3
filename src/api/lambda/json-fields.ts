/**
 * The members of a request's JSON body, each read as the type that Lambda's model gives it. `null` is absent, as in AWS's own
 * clients; what Lambda does not know is passed over. Source: Smithy, "AWS restJson1 protocol".
 */

import { jsonProblem, viewOf } from '../../base/index.ts';
import { LambdaError } from './lambda-error.ts';

type JsonObject = Readonly<Record<string, unknown>>;

/** What the model allows, both ends included. */
export interface IntegerRange {
  readonly min?: number;
  readonly max?: number;
}

export class JsonFields {
  readonly #object: JsonObject;
  readonly #path: string;

  constructor(object: JsonObject, path = '') {
    this.#object = object;
    this.#path = path;
  }

  /** An empty body is an object without members. Throws `LambdaError` of `InvalidRequestContentException`. */
  static parse(body: Uint8Array): JsonFields {
    if (body.byteLength === 0) return new JsonFields({});
    const value = parseJson(body);
    if (!isObject(value)) throw unparsable('it is not a JSON object');
    return new JsonFields(value);
  }

  has(name: string): boolean {
    return this.#value(name) !== undefined;
  }

  string(name: string): string | undefined {
    return this.#typed(name, 'a string', isString);
  }

  requiredString(name: string): string {
    return this.#present(name, this.string(name));
  }

  oneOf<Choice extends string>(name: string, choices: readonly Choice[]): Choice | undefined {
    const value = this.string(name);
    if (value === undefined) return undefined;
    const choice = choices.find((each) => each === value);
    if (choice !== undefined) return choice;
    throw new LambdaError(
      'ValidationException',
      `1 validation error detected: Value '${value.slice(0, 200)}' at '${this.#member(name)}' failed to satisfy constraint: ` +
        `Member must satisfy enum value set: [${choices.join(', ')}]`,
    );
  }

  /** A string of this form. */
  matching(
    name: string,
    { pattern, lengthMax = Infinity }: { readonly pattern: RegExp; readonly lengthMax?: number },
  ): string | undefined {
    const value = this.string(name);
    if (value === undefined || (pattern.test(value) && value.length <= lengthMax)) return value;
    const constraint = pattern.test(value)
      ? `Member must have length less than or equal to ${lengthMax}`
      : `Member must satisfy regular expression pattern: ${pattern.source}`;
    throw new LambdaError(
      'ValidationException',
      `1 validation error detected: Value '${value.slice(0, 200)}' at '${this.#member(name)}' failed to satisfy constraint: ${constraint}`,
    );
  }

  /** Whole: what has a fraction is refused as what is no number. */
  integer(
    name: string,
    { min = -Infinity, max = Infinity }: IntegerRange = {},
  ): number | undefined {
    const value = this.#typed(name, 'an integer', isWhole);
    if (value === undefined) return undefined;
    if (value >= min && value <= max) return value;
    const bound = value < min ? `greater than or equal to ${min}` : `less than or equal to ${max}`;
    throw new LambdaError(
      'ValidationException',
      `1 validation error detected: Value '${value}' at '${this.#member(name)}' failed to satisfy constraint: ` +
        `Member must have value ${bound}`,
    );
  }

  boolean(name: string): boolean | undefined {
    return this.#typed(name, 'a boolean', isBoolean);
  }

  object(name: string): JsonFields | undefined {
    const value = this.#typed(name, 'an object', isObject);
    return value === undefined ? undefined : new JsonFields(value, `${this.#member(name)}.`);
  }

  requiredObject(name: string): JsonFields {
    return this.#present(name, this.object(name));
  }

  /** Whether it is a list of anything. */
  hasItems(name: string): boolean {
    const list = this.#typed(name, 'a list', isList);
    return list !== undefined && list.length > 0;
  }

  strings(name: string): readonly string[] | undefined {
    return this.#typed(name, 'a list of strings', isStringList);
  }

  /** The object has exactly the names of the request, also those that objects have by nature. */
  stringMap(name: string): Readonly<Record<string, string>> | undefined {
    return this.#map(name, 'a map of strings', isString);
  }

  numberMap(name: string): Readonly<Record<string, number>> | undefined {
    return this.#map(name, 'a map of numbers', isNumber);
  }

  /** From base64. */
  bytes(name: string): Uint8Array | undefined {
    const text = this.string(name);
    if (text === undefined) return undefined;
    const bytes = Buffer.from(text, 'base64');
    // Buffer passes over what is no base64; then less comes out of it than its length tells.
    const digits = text.length - (text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0);
    if (digits % 4 !== 1 && bytes.byteLength === Math.floor((digits * 3) / 4)) return bytes;
    throw this.#mismatch(name, 'base64');
  }

  #value(name: string): unknown {
    const value = Object.hasOwn(this.#object, name) ? this.#object[name] : undefined;
    return value === null ? undefined : value;
  }

  #typed<T>(name: string, type: string, isIt: (value: unknown) => value is T): T | undefined {
    const value = this.#value(name);
    if (value === undefined || isIt(value)) return value;
    throw this.#mismatch(name, type);
  }

  #map<T>(
    name: string,
    type: string,
    isIt: (value: unknown) => value is T,
  ): Readonly<Record<string, T>> | undefined {
    const isMap = (value: unknown): value is Readonly<Record<string, T>> =>
      isObject(value) && Object.values(value).every(isIt);
    return this.#typed(name, type, isMap);
  }

  #present<T>(name: string, value: T | undefined): T {
    if (value !== undefined) return value;
    throw new LambdaError(
      'ValidationException',
      `1 validation error detected: Value null at '${this.#member(name)}' failed to satisfy constraint: Member must not be null`,
    );
  }

  #member(name: string): string {
    return this.#path + name.charAt(0).toLowerCase() + name.slice(1);
  }

  #mismatch(name: string, type: string): LambdaError {
    return new LambdaError('SerializationException', `'${this.#member(name)}' must be ${type}`);
  }
}

function isString(value: unknown): value is string {
  return typeof value === 'string';
}

function isBoolean(value: unknown): value is boolean {
  return typeof value === 'boolean';
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number';
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

function isStringList(value: unknown): value is readonly string[] {
  return isList(value) && value.every(isString);
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** More than any request has: what is parsed takes up to a hundred times the memory of its text. */
const jsonLimits = { depthMax: 32, itemsMax: 20_000 };

function parseJson(body: Uint8Array): unknown {
  const problem = jsonProblem(body, jsonLimits);
  if (problem !== undefined) throw unparsable(problem);
  return JSON.parse(viewOf(body).toString()) as unknown;
}

function unparsable(problem: string): LambdaError {
  return new LambdaError(
    'InvalidRequestContentException',
    `Could not parse request body into json: ${problem}`,
  );
}
