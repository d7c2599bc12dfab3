/** For tests: the disks of the golden corpus, each together with all that knows what is on it. */

import { present, RandomAccessFile } from '../../base/index.ts';
import type { Node } from '../../rootfs/index.ts';
import type { PlannedInode } from '../inode.ts';
import { planWhole, type WholePlan } from '../plan-disk.ts';
import { Volume } from '../volume.ts';
import { goldenImages } from './golden-corpus.ts';
import type { TestImage } from './images.ts';
import { withDisk } from './oracles.ts';

/** A disk, and who knows it. */
export interface KnownDisk {
  readonly name: string;
  readonly path: string;
  readonly image: TestImage;
  readonly plan: WholePlan;
  readonly inodeOf: InodeLookup;
  readonly file: RandomAccessFile;
  readonly volume: Volume;
}

export type InodeLookup = (node: Node) => PlannedInode;

/** Writes one after the other; what `use` throws comes with the image's name. */
export async function withEachGoldenDisk(use: (known: KnownDisk) => Promise<void>): Promise<void> {
  for await (const [name, image] of goldenImages()) {
    await withDisk(image, async ({ path }) => {
      await using file = await RandomAccessFile.open(path);
      const volume = await Volume.open(file);
      try {
        const plan = planWhole(image.tree);
        const byNode = new Map(plan.inodes.map((inode) => [inode.node, inode]));
        const inodeOf: InodeLookup = (node) => present(byNode.get(node), 'the inode of a node');
        await use({ name, path, image, plan, inodeOf, file, volume });
      } catch (thrown) {
        throw new Error(`In the image "${name}"`, { cause: thrown });
      }
    });
  }
}
