/** Links to code: good for what they were made for, for ten minutes, and for nothing that was made up. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { CodeLinks } from './code-links.ts';

const of = { tenant: 'acme', name: 'hello', qualifier: '$LATEST' };

test('a link names what it was made for, for ten minutes', () => {
  const links = new CodeLinks();
  const path = links.pathOf(of, 1000);
  assert.match(path, /^\/code\/[\w-]+\.[\w-]+$/);
  assert.deepEqual(links.find(path, 1000), of);
  assert.deepEqual(links.find(path, 1000 + 599_999), of);
  assert.equal(links.find(path, 1000 + 600_000), undefined);
});

test('a link of another server, or one that was changed, names nothing', () => {
  const links = new CodeLinks();
  const path = links.pathOf(of, 1000);
  assert.equal(new CodeLinks().find(path, 1000), undefined);
  const claim = Buffer.from('other/hello/$LATEST/9999999').toString('base64url');
  assert.equal(links.find(path.replace(/[\w-]+\./, `${claim}.`), 1000), undefined);
  fc.assert(
    fc.property(
      fc.nat({ max: path.length - 1 }),
      fc.constantFrom('A', 'z', '_', '.'),
      (at, changed) => {
        const other = path.slice(0, at) + changed + path.slice(at + 1);
        // The last digit of base64 has bits that say nothing.
        if (at < path.length - 1 && other !== path && other.startsWith('/code/')) {
          const found = links.find(other, 1000);
          assert.ok(found === undefined || at === path.lastIndexOf('.') - 1, other);
        }
      },
    ),
  );
  for (const wrong of ['/code/', '/code/.', '/code/a.b.c', '/code/%00']) {
    assert.equal(links.find(wrong, 1000), undefined);
  }
});
