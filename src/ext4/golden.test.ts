/**
 * The bytes of a small corpus, by digest. They change only together with `diskFormatVersion`, because published images
 * share chunks with those made before. `UPDATE_GOLDEN=1` writes the file anew.
 */

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

import { diskFormatVersion } from './index.ts';
import { goldenDigests } from './testing/golden-corpus.ts';

const goldenFile = new URL('../../test/golden/ext4.json', import.meta.url);

interface Golden {
  readonly diskFormatVersion: number;
  readonly digests: Readonly<Record<string, string>>;
}

test('the corpus gives the bytes that it always gave', async () => {
  const digests = await goldenDigests();
  const found: Golden = { diskFormatVersion, digests };
  if (process.env['UPDATE_GOLDEN'] === '1') {
    writeFileSync(goldenFile, `${JSON.stringify(found, null, 2)}\n`);
  }
  const golden = JSON.parse(readFileSync(goldenFile, 'utf8')) as Golden;
  assert.deepEqual(
    found,
    golden,
    'The disks differ from the golden ones: if that is meant, raise diskFormatVersion and run with UPDATE_GOLDEN=1',
  );
});

test('the golden file belongs to this format version', () => {
  const golden = JSON.parse(readFileSync(goldenFile, 'utf8')) as Golden;
  assert.equal(golden.diskFormatVersion, diskFormatVersion);
});
