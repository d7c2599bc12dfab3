/** Trees that nobody thought of: e2fsck, the kernel, and a reader that knows nothing of the writer must find them as they are. */

import { test } from 'node:test';

import fc from 'fast-check';

import {
  expectKernelFinds,
  expectReaderFindsInFile,
  fsck,
  needsJudges,
  needsRoot,
  withDisk,
  withMount,
} from './testing/oracles.ts';
import { randomImage, randomLayers } from './testing/random-images.ts';

test(
  'generated layers give disks in which e2fsck, the kernel and the reader find exactly the tree',
  { skip: needsJudges },
  async () => {
    await fc.assert(
      fc.asyncProperty(randomLayers, async (layers) => {
        const image = await randomImage(layers);
        await withDisk(image, async (disk) => {
          await fsck(disk.path);
          await expectReaderFindsInFile(disk.path, image);
          if (needsRoot === false) {
            await withMount(disk, (mountPoint) => expectKernelFinds(mountPoint, image));
          }
        });
      }),
      { numRuns: 6 },
    );
  },
);
