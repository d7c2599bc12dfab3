import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { ThawError } from '../base/index.ts';
import { formatReference, parseReference, type ImageReference } from './reference.ts';

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`;

const accepted: readonly (readonly [text: string, parsed: ImageReference, canonical?: string])[] = [
  ['oci:dir', { transport: 'oci', path: 'dir' }],
  ['oci:/a/b:v1', { transport: 'oci', path: '/a/b', tag: 'v1' }],
  ['oci:/a:host/name:v1', { transport: 'oci', path: '/a', tag: 'host/name:v1' }],
  ['oci-archive:./x.tar', { transport: 'oci-archive', path: './x.tar' }],
  ['oci-archive:x.tar:1', { transport: 'oci-archive', path: 'x.tar', tag: '1' }],
  ['docker-archive:x.tar', { transport: 'docker-archive', path: 'x.tar' }],
  [
    'docker-archive:x.tar:debian',
    { transport: 'docker-archive', path: 'x.tar', name: 'docker.io/library/debian:latest' },
    'docker-archive:x.tar:docker.io/library/debian:latest',
  ],
  [
    'docker-archive:x.tar:quay.io/a/b:1',
    { transport: 'docker-archive', path: 'x.tar', name: 'quay.io/a/b:1' },
  ],
  [
    'docker://debian',
    { transport: 'docker', host: 'docker.io', repository: 'library/debian' },
    'docker://docker.io/library/debian:latest',
  ],
  [
    'docker://someone/thing:2',
    { transport: 'docker', host: 'docker.io', repository: 'someone/thing', tag: '2' },
    'docker://docker.io/someone/thing:2',
  ],
  [
    'docker://localhost:5000/a/b_c/d--e:v1.0-x',
    { transport: 'docker', host: 'localhost:5000', repository: 'a/b_c/d--e', tag: 'v1.0-x' },
  ],
  [
    `docker://[::1]:5000/a@${digest}`,
    { transport: 'docker', host: '[::1]:5000', repository: 'a', digest },
  ],
  [
    `docker://example.com/a:1@${digest}`,
    { transport: 'docker', host: 'example.com', repository: 'a', tag: '1', digest },
  ],
];

for (const [text, parsed, canonical = text] of accepted) {
  test(`parseReference() understands ${text}`, () => {
    assert.deepEqual(parseReference(text), parsed);
    assert.equal(formatReference(parsed), canonical);
    assert.deepEqual(formatReference(parseReference(canonical)), canonical);
  });
}

const refused = [
  '',
  'debian:12',
  'https://example.com/a',
  'oci:',
  'oci::tag',
  'oci:dir:',
  'oci:a\0b',
  `docker-archive:x.tar:a@${digest}`,
  'docker:debian',
  'docker://',
  'docker:///a',
  'docker://Debian',
  'docker://example.com/',
  'docker://example.com/UPPER',
  'docker://example.com/a//b',
  'docker://example.com/../a',
  'docker://example.com/a..b',
  'docker://example.com:0/a',
  'docker://example.com:65536/a',
  'docker://-bad.com/a',
  'docker://example.com/a:',
  'docker://example.com/a:b/c',
  `docker://example.com/a:${'t'.repeat(129)}`,
  'docker://example.com/a@sha256:abc',
  `docker://example.com/a@sha256:${'a'.repeat(128)}`,
  `docker://example.com/a@sha256:${'A'.repeat(64)}`,
  `docker://example.com/a@md5:${'a'.repeat(32)}`,
  `docker://example.com/${'a/'.repeat(200)}a`,
  'docker://user:secret@example.com/a',
  `oci:${'a'.repeat(10_000)}`,
];

for (const text of refused) {
  test(`parseReference() refuses ${JSON.stringify(text.slice(0, 60))}`, () => {
    assert.throws(() => parseReference(text), { code: 'ERR_OCI_BAD_REFERENCE' });
  });
}

for (const text of [
  'docker://user:hunter2@example.com/a',
  'docker://user:hunter2@example.com',
  'docker://user:hunt/hunter2@example.com/a:1',
  'user:hunter2@example.com/a',
  `docker://user:hunter2@example.com/a@${digest}`,
]) {
  test(`parseReference() does not repeat the password of ${text.replace('hunter2', 'PASSWORD')}`, () => {
    assert.throws(
      () => parseReference(text),
      (thrown: unknown) => thrown instanceof ThawError && !thrown.message.includes('hunter2'),
    );
  });
}

test('parseReference() gives a value that round-trips, or ERR_OCI_BAD_REFERENCE, for any text', () => {
  const pieces =
    'oci:|oci-archive:|docker-archive:|docker://|a|B|/|:|@|.|-|_|..|localhost|[::1]|5000|%2e|\\|\n|é|library';
  const piece = fc.constantFrom(digest, ...pieces.split('|'));
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')),
    fc
      .tuple(fc.constantFrom('oci:', 'docker://', 'docker-archive:f:'), fc.array(piece))
      .map(([transport, pieces]) => `${transport}${pieces.join('')}`),
  );
  fc.assert(
    fc.property(text, (reference) => {
      let parsed: ImageReference;
      try {
        parsed = parseReference(reference);
      } catch (thrown) {
        assert.equal((thrown as ThawError).code, 'ERR_OCI_BAD_REFERENCE');
        return;
      }
      const canonical = formatReference(parsed);
      assert.equal(formatReference(parseReference(canonical)), canonical);
      if (parsed.transport === 'docker') {
        assert.doesNotMatch(parsed.repository, /(^|\/)\.{0,2}(\/|$)|[^a-z0-9._/-]/);
      }
    }),
    { numRuns: 3000 },
  );
});
