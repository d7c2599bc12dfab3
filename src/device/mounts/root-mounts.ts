/** Root filesystems for sandboxes: one mount of an image, shared by all who use it, gone when nobody does. */

import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

import { Semaphore, errorCode } from '../../base/index.ts';
import type { DroppableCache } from '../../cache/index.ts';
import type { AgentClient } from '../agent/agent-client.ts';
import { mountImageFile } from './attach.ts';
import type {
  ImageRef,
  MountedRoot,
  ReadCounters,
  RootMounts,
  StartEnd,
} from '../images/block-images.ts';
import { WrongTenantError } from '../errors.ts';
import { unmount, unmountBelow } from './mounts.ts';
import { StartPages } from '../starts/start-pages.ts';

export interface RootMountsOptions {
  readonly agent: AgentClient;
  /** An absolute path without symbolic links; a directory per image. Belongs to one process at a time. */
  readonly mountsDir: string;
  /** Leaves an image mounted when nobody holds it, so that its next use need not wait. Default false. */
  readonly keepIdle?: boolean;
}

type Timeline = MountedRoot['timelineMs'];

/** One image's mount. Work on it is done one at a time. */
interface Root {
  readonly image: ImageRef;
  readonly path: string;
  readonly turns: Semaphore;
  holders: number;
  isMounted: boolean;
  /** A start began when it was mounted, and nobody has said that it ended. */
  isStarting: boolean;
  /** Of that start. */
  pages: StartPages | undefined;
}

class Roots implements RootMounts {
  readonly #options: RootMountsOptions;
  /** By manifest id. A root stays here as long as it is mounted or someone works on it. */
  readonly #roots = new Map<string, Root>();

  constructor(options: RootMountsOptions) {
    this.#options = options;
  }

  async acquire(image: ImageRef): Promise<MountedRoot> {
    const root = this.#rootOf(image);
    if (root.image.tenant !== image.tenant || root.image.rootId !== image.rootId) {
      throw new WrongTenantError(image.manifestId, image.tenant);
    }
    root.holders += 1;
    try {
      const timelineMs = await root.turns.run(async () => this.#mount(root));
      return this.#handle(root, timelineMs);
    } catch (thrown) {
      root.holders -= 1;
      this.#forgetIfUnused(root);
      throw thrown;
    }
  }

  async counters(image: ImageRef): Promise<ReadCounters> {
    return this.#options.agent.counters(image);
  }

  /** Asks the agent once for each mount: most starts find the image mounted. */
  async startEnded(image: ImageRef): Promise<StartEnd> {
    const root = this.#roots.get(image.manifestId);
    if (root?.isStarting !== true) return { chunks: 0, saved: false };
    root.isStarting = false;
    return this.#options.agent.startEnded(image, await root.pages?.end());
  }

  async dropCaches(caches?: readonly DroppableCache[]): Promise<readonly DroppableCache[]> {
    await Promise.all([...this.#roots.values()].map((root) => this.#unmountIfIdle(root)));
    return await this.#options.agent.dropCaches(caches);
  }

  async close(): Promise<void> {
    const unmounts = [...this.#roots.values()].map((root) =>
      root.turns.run(async () => this.#unmount(root, { lazily: true })),
    );
    await Promise.all(unmounts);
  }

  #rootOf(image: ImageRef): Root {
    const known = this.#roots.get(image.manifestId);
    if (known !== undefined) return known;
    const path = join(this.#options.mountsDir, image.manifestId);
    const turns = new Semaphore(1);
    const root = {
      image,
      path,
      turns,
      holders: 0,
      isMounted: false,
      isStarting: false,
      pages: undefined,
    };
    this.#roots.set(image.manifestId, root);
    return root;
  }

  #handle(root: Root, timelineMs: Timeline): MountedRoot {
    let isHeld = true;
    const release = async (): Promise<void> => {
      if (!isHeld) return;
      isHeld = false;
      root.holders -= 1;
      if (this.#options.keepIdle !== true) await this.#unmountIfIdle(root);
    };
    return { path: root.path, timelineMs, [Symbol.asyncDispose]: release };
  }

  async #unmountIfIdle(root: Root): Promise<void> {
    await root.turns.run(async () => {
      if (root.holders === 0) await this.#unmount(root, { lazily: false });
    });
  }

  async #mount(root: Root): Promise<Timeline> {
    const timelineMs = { open: 0, attach: 0, mount: 0 };
    if (root.isMounted && (await this.#isServed(root))) return timelineMs;
    await this.#forgetDead(root);
    const startMs = performance.now();
    const opened = await this.#options.agent.open({ ...this.#use(root), isStart: true });
    const openMs = performance.now();
    try {
      await mkdir(root.path, { recursive: true, mode: 0o700 });
      const attached = await mountImageFile(opened.path, root.path, { isStart: true });
      Object.assign(timelineMs, { attach: attached.attachMs, mount: attached.mountMs });
      const { diskSizeBytes } = opened;
      const mount = { mountPoint: root.path, device: attached.device, diskSizeBytes };
      root.pages = StartPages.begin(mount, (signal) =>
        this.#options.agent.guideStart(root.image, signal),
      );
    } catch (thrown) {
      await this.#options.agent.close(this.#use(root));
      throw thrown;
    }
    root.isMounted = true;
    root.isStarting = true;
    timelineMs.open = openMs - startMs;
    return timelineMs;
  }

  /** False after a holder was killed: the next one knows nothing of our mounts, and what reads them gets errors. */
  async #isServed(root: Root): Promise<boolean> {
    return await this.#options.agent.isOpen(this.#use(root));
  }

  async #forgetDead(root: Root): Promise<void> {
    if (!root.isMounted) return;
    await root.pages?.close();
    await unmount(root.path, { lazily: true });
    root.isMounted = false;
  }

  async #unmount(root: Root, how: { lazily: boolean }): Promise<void> {
    if (root.isMounted) {
      await root.pages?.close();
      await unmount(root.path, how);
      root.isMounted = false;
      await rmdir(root.path).catch(ignoreMissing);
      await this.#options.agent.close(this.#use(root));
    }
    this.#forgetIfUnused(root);
  }

  #forgetIfUnused(root: Root): void {
    if (!root.isMounted && root.holders === 0) this.#roots.delete(root.image.manifestId);
  }

  /** By directory, not by process: who takes the directory over takes over what was left open for it. */
  #use(root: Root): { image: ImageRef; user: string } {
    return { image: root.image, user: `roots:${this.#options.mountsDir}` };
  }
}

function ignoreMissing(thrown: unknown): void {
  if (errorCode(thrown) !== 'ENOENT') throw thrown;
}

/**
 * Takes over `mountsDir`: unmounts what a process that was killed left there, and closes it at the agent.
 */
export async function createRootMounts(options: RootMountsOptions): Promise<RootMounts> {
  const { agent, mountsDir } = options;
  await mkdir(mountsDir, { recursive: true, mode: 0o700 });
  await unmountBelow(mountsDir);
  const user = `roots:${mountsDir}`;
  for (const { image, users } of (await agent.status()).images) {
    if (users.includes(user)) await agent.close({ image, user });
  }
  return new Roots(options);
}
