/**
 * The bytes of a small corpus, by digest. They change only together with `diskFormatVersion`, because published images
 * share chunks with those made before. `UPDATE_GOLDEN=1` writes the file anew.
 */

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';

import { diskFormatVersion, planDisk } from './index.ts';
import { diskDigest, testImage, type EntryInWords } from './testing/images.ts';

const goldenFile = new URL('../../test/golden/ext4.json', import.meta.url);

interface Golden {
  readonly diskFormatVersion: number;
  readonly digests: Readonly<Record<string, string>>;
}

const kinds: readonly EntryInWords[] = [
  { path: 'etc/hostname', data: 'thaw\n', nanoseconds: 5 },
  { path: 'hard', type: 'hardlink', target: 'etc/hostname', nanoseconds: 5 },
  { path: 'link', type: 'symlink', target: 'x'.repeat(100) },
  { path: 'null', type: 'character-device', device: [1, 3] },
  {
    path: 'later',
    seconds: 2_524_608_000,
    xattrs: { 'user.a': 'b', 'user.long': 'x'.repeat(200) },
  },
];
const packages: readonly EntryInWords[] = Array.from({ length: 3000 }, (_, index) => {
  return {
    path: `usr/lib/p${index % 40}/f${index}`,
    data: 100 + ((index * 7919) % 30_000),
    seed: index,
  };
});
const large: readonly EntryInWords[] = [
  { path: 'large', data: 2_000_000, seed: 1 },
  {
    path: 'holes',
    data: 900_000,
    parts: [
      [0, 9],
      [400_000, 9],
      [800_000, 9],
    ],
    seed: 2,
  },
];
const edits: readonly EntryInWords[] = [
  { path: 'usr/lib/p1/f1', data: 'edited' },
  { path: 'usr/lib/p2/.wh.f2' },
  { path: 'etc/added', data: 'x' },
];
const crowded: readonly EntryInWords[] = Array.from({ length: 2000 }, (_, index) => {
  return { path: `crowd/${'n'.repeat(index % 90)}${index}` };
});

const corpus: Readonly<Record<string, readonly (readonly EntryInWords[])[]>> = {
  empty: [],
  kinds: [kinds],
  packages: [packages, large],
  edited: [kinds, packages, edits],
  crowded: [crowded],
};

test('the corpus gives the bytes that it always gave', async () => {
  const digests: Record<string, string> = {};
  for (const [name, layers] of Object.entries(corpus)) {
    const image = await testImage(layers);
    digests[name] = await diskDigest(planDisk(image.tree), image.content);
  }
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
