import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import { manifestChunkRecord, manifestHeaderRecord } from './manifest-layout.ts';

const documentPath = join(import.meta.dirname, '../../docs/formats/manifest.md');

/** The rows `| 0x00 | u32 | `field` | … |` below the heading that names the record. */
function documentedRows(document: string, record: string, sizeBytes: number): readonly unknown[] {
  const heading = new RegExp(`^## .*\`${record}\`, ${sizeBytes} bytes.*$`, 'm').exec(document);
  assert.ok(heading !== null, `a heading with \`${record}\`, ${sizeBytes} bytes`);
  const [section = ''] = document.slice(heading.index + 3).split('\n## ');
  return [...section.matchAll(/^\| (0x[0-9a-f]+) \| (\w+) \| `(\w+)` \|/gm)].map(
    ([, offset, type, field]) => [Number(offset), type, field],
  );
}

for (const { name, sizeBytes, rows } of [manifestHeaderRecord, manifestChunkRecord]) {
  test(`docs/formats/manifest.md has the rows of ${name}`, async () => {
    const document = await readFile(documentPath, 'utf8');
    assert.deepEqual(documentedRows(document, name, sizeBytes), [...rows]);
  });
}
