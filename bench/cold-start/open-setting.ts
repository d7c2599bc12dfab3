/** Everything that takes part, up and joined by the link. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { ShapedLink, shapes } from '../support/shaped-link.ts';
import { BenchRegistry } from './bench-registry.ts';
import { Containerd } from './containerd.ts';
import type { BenchSetting } from './systems.ts';
import { ThawServers } from './thaw-servers.ts';
import { ThawUnderTest } from './thaw.ts';

/** In a directory with a short path. Ends all of it when disposed of. */
export async function openSetting(directory: string): Promise<BenchSetting & AsyncDisposable> {
  await using made = new AsyncDisposableStack();
  const registry = made.use(await BenchRegistry.start(directory));
  const servers = made.use(await ThawServers.start());
  const targets = [...servers.targets, { name: 'registry', port: registry.port }];
  const link = made.use(await ShapedLink.open(shapes['10 Gbit/s + 1 ms'], targets));
  const containerds: Containerd[] = [];
  for (const name of ['cold', 'warm']) {
    const own = join(directory, name);
    await mkdir(own);
    containerds.push(made.use(await Containerd.start(own)));
  }
  const [cold, warm] = containerds as [Containerd, Containerd];
  const portOf = (target: string): number => link.portOf(target);
  const thaw = made.use(await ThawUnderTest.start(join(directory, 't'), servers, portOf, 'primed'));
  const thawOriginOnly = made.use(
    await ThawUnderTest.start(join(directory, 'o'), servers, portOf, 'emptied'),
  );
  const stack = made.move();
  return {
    directory,
    link,
    registry,
    cold,
    warm,
    thaw,
    thawOriginOnly,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
