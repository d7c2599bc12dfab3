import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import type { PublishDependencies } from '../publish/index.ts';
import { registryImages } from './registry-images.ts';

/** Only looks at references. */
const images = registryImages({
  publish: {} as PublishDependencies,
  plainHttpHosts: [],
  loginsOf: () => ({ from: 'nowhere' }),
});
const isReference = (imageUri: string): boolean => images.isReference(imageUri);

test('what names a host and an image on it is an image of a registry', () => {
  const digest = `sha256:${'a'.repeat(64)}`;
  for (const uri of [
    'registry.example.com/hello',
    'registry.example.com/team/hello:1',
    `000000000000.dkr.ecr.local.amazonaws.com/hello@${digest}`,
    'localhost/hello',
    'localhost:5000/hello:1',
    '127.0.0.1:5000/hello',
    '[::1]:5000/hello',
    'docker.io/library/debian',
    'docker://debian', // Docker Hub's, said in full
  ]) {
    assert.equal(isReference(uri), true, uri);
  }
});

test('a name alone, a path and a source of this machine are none', () => {
  for (const uri of [
    '',
    'hello',
    'hello:1',
    'team/hello',
    'a'.repeat(64),
    '/etc/passwd',
    './layout',
    '../layout:x',
    'oci:/srv/layout',
    'oci:layout:x',
    'oci-archive:/srv/image.tar',
    'docker-archive:/srv/image.tar',
    'dir:/srv',
    'https://registry.example.com/hello',
    'user:secret@registry.example.com/hello',
    'registry.example.com/Hello',
    'registry.example.com/../hello',
    'registry.example.com/hello\n',
    'docker://',
    'docker:///etc/passwd',
    'docker://oci:/srv/layout',
  ]) {
    assert.equal(isReference(uri), false, JSON.stringify(uri));
  }
});

test('no text makes a path of this machine a reference', () => {
  const kinds = fc.constantFrom('oci:', 'oci-archive:', 'docker-archive:', '/', './', 'file://');
  fc.assert(
    fc.property(kinds, fc.string(), (kind, rest) => {
      assert.equal(isReference(`${kind}/${rest}`), false);
    }),
  );
});
