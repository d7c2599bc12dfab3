import assert from 'node:assert/strict';
import { test } from 'node:test';

import { walkTree } from './index.ts';
import { apply } from './testing/apply.ts';

test('walkTree gives whole paths in byte order, directories before what they hold, each name of a link', async () => {
  const { root } = await apply([
    { path: 'a/c' },
    { path: 'a/b/' },
    { path: 'a.b/x' },
    { path: 'a-' },
    { path: 'z', type: 'hardlink', linkTarget: 'a/c' },
    { path: 'A' },
  ]);
  const walked = [...walkTree(root)];
  const paths = walked.map(({ path }) => path);
  assert.deepEqual(paths, ['', 'A', 'a', 'a-', 'a.b', 'a.b/x', 'a/b', 'a/c', 'z']);
  assert.equal(walked[0]?.node, root);
  assert.equal(walked[7]?.node, walked[8]?.node);
});
