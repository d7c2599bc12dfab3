/** Exporting to places that are too small. */

import assert from 'node:assert/strict';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';

import { mountSmallFilesystem } from '../../test/support/small-filesystem.ts';
import { buildTar } from '../../test/support/tar-builder.ts';
import { exportImage } from './export-image.ts';
import { openStoredManifest } from './stored-image.ts';
import { publishingHouse } from './testing/publishing-house.ts';

const skip = process.geteuid?.() === 0 ? false : 'needs root';
const blockBytes = 4096;

test(
  'an export that lacks room fails and leaves nothing, however little is lacking',
  { skip },
  async (t) => {
    const house = await publishingHouse(t);
    const { image } = await house.publish(
      await house.image([{ tar: buildTar([{ path: 'x', content: 'y' }]) }]),
    );
    const manifest = await openStoredManifest(house.deps, image);
    const needed = await (async () => {
      await using disk = await mountSmallFilesystem(1024 * blockBytes);
      const path = join(disk.path, 'disk');
      await exportImage({ store: house.store, manifest, path });
      return ((await stat(path)).blocks * 512) / blockBytes;
    })();
    assert.ok(needed > 1);
    for (let blocks = needed - 1; blocks > 0; blocks -= 1) {
      await using disk = await mountSmallFilesystem(blocks * blockBytes);
      const path = join(disk.path, 'disk');
      await assert.rejects(
        exportImage({ store: house.store, manifest, path }),
        { code: 'ERR_PUBLISH_EXPORT_FULL' },
        `${blocks} of ${needed} blocks`,
      );
      assert.deepEqual(await readdir(disk.path), []);
    }
  },
);
