/**
 * Publishing a 250 MB image (that of `npm start`, layers on local disk) against what one would do without Thaw to get an
 * ext4 disk of it: unpack with umoci, then `mke2fs -d`. Thaw's time includes hashing, encryption and durable
 * storage; the others' does not. Needs root, umoci and mke2fs.
 */

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { addDemoImage, writeDemoLayers } from '../scripts/demo/demo-image.ts';
import { createLog, runCommand } from '../src/base/index.ts';
import { createWorker } from '../src/cli/compose.ts';
import { loadConfig } from '../src/cli/config.ts';
import type { Bench } from './harness.ts';

const rounds = 5;
const handler = (text: string): string => `export const rounds = 5;
const handler = async () => '${text}';\n`;

export const bench: Bench = {
  title: 'Publish a 250 MB image of four layers',
  rounds,
  prepare: async () => {
    const root = await mkdtemp(join(tmpdir(), 'thaw-bench-publish-'));
    const layoutDir = join(root, 'layout');
    const layers = await writeDemoLayers(root);
    await addDemoImage({ layoutDir, tag: 'x', layers, handler: handler('x') });
    const newApps = Array.from({ length: rounds + 1 }, (_, index) => `app-${index}`);
    for (const tag of newApps)
      await addDemoImage({ layoutDir, tag, layers, handler: handler(tag) });
    let runs = 0;
    const publishTo = async (state: string, tag: string): Promise<void> => {
      const config = await loadConfig({ root: join(root, state) }, {});
      const log = createLog({ level: 'warn' });
      await using worker = await createWorker(config, log, { agentLife: 'own' });
      await worker.convertImage({ source: `oci:${layoutDir}:${tag}`, tenant: 'bench' });
    };
    await publishTo('known', 'x');
    return {
      dispose: () => rm(root, { recursive: true }),
      contenders: [
        {
          name: 'umoci unpack + mke2fs -d',
          run: async () => {
            runs += 1;
            const unpacked = join(root, `unpacked-${runs}`);
            const disk = join(root, `disk-${runs}`);
            await mkdir(unpacked);
            const image = `${layoutDir}:x`;
            await runCommand('umoci', ['raw', 'unpack', '--image', image, join(unpacked, 'r')]);
            const size = ['-q', '-t', 'ext4', '-O', '^has_journal', '-d', join(unpacked, 'r')];
            await runCommand('mke2fs', [...size, disk, '1G']);
            await rm(unpacked, { recursive: true });
            await rm(disk);
          },
        },
        {
          name: 'thaw, nothing known before',
          run: async () => {
            runs += 1;
            await publishTo(`state-${runs}`, 'x');
            await rm(join(root, `state-${runs}`), { recursive: true });
          },
        },
        {
          name: 'thaw, only the app layer new',
          run: () => publishTo('known', newApps.pop() ?? ''),
        },
        { name: 'thaw, published before', run: () => publishTo('known', 'x') },
      ],
    };
  },
};
