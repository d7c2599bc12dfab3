import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { jsonProblem } from './json-text.ts';

function isJson(text: Uint8Array): boolean {
  try {
    JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(text));
    return true;
  } catch {
    return false;
  }
}

function agrees(text: string | Uint8Array): void {
  const bytes = Buffer.from(text as string);
  const shown = JSON.stringify(bytes.toString('latin1'));
  assert.equal(jsonProblem(bytes) === undefined, isJson(bytes), shown);
}

test('jsonProblem takes what JSON.parse takes, and nothing else', () => {
  const space = fc.constantFrom('', ' ', '\n', '\t\r', '\v');
  const change = fc.tuple(
    fc.nat(),
    fc.constantFrom(...'[]{}",:\\0-.eEu+tn \u0000\u0080'.split('')),
    fc.boolean(),
  );
  fc.assert(
    fc.property(fc.json(), space, fc.option(change), (json, around, changed) => {
      agrees(around + json + around);
      if (changed === null) return;
      const [position, by, isAdded] = changed;
      const at = position % (json.length + 1);
      agrees(json.slice(0, at) + by + json.slice(at + (isAdded ? 0 : 1)));
    }),
    { numRuns: 3000 },
  );
  const pieces =
    '[ ] { } , : "a" "\\u00e9" "\\ud800" "\\x" "\\u12" " true null fals -0 01 1. .5 1e5 1E+ -'.split(
      ' ',
    );
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 9 }), (some) =>
      agrees(some.join('')),
    ),
    { numRuns: 5000 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 6 }), (bytes) => agrees(bytes)));
  for (const text of [
    '',
    ' ',
    '\ufeff1',
    '"\u2028"',
    '[1,]',
    '{"a":1,}',
    '{,}',
    '[]]',
    '1 2',
    '"\n"',
  ])
    agrees(text);
});

test('jsonProblem tells what is too much', () => {
  const of = (text: string, limits: object): string | undefined =>
    jsonProblem(Buffer.from(text), limits);
  assert.equal(of('[[{}]]', { depthMax: 2 }), undefined);
  assert.match(String(of('[[[1]]]', { depthMax: 2 })), /nested too deeply/);
  assert.equal(of('{"a":[1,2]}', { itemsMax: 3 }), undefined);
  assert.match(String(of('{"a":[1,2,3]}', { itemsMax: 3 })), /too many members/);
  assert.equal(of(`${'['.repeat(1e6)}1${']'.repeat(1e6)}`, {}), undefined);
});
