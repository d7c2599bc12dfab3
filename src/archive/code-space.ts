/**
 * Where archives are unpacked: in memory (a tmpfs of this process) as long as there is room, then on disk. Files are made in
 * memory several times as fast (`npm run bench -- zip`), and both are bounded.
 *
 * A process has a directory of its own below one that all share, named after it. Any of them may be killed at any moment: whoever
 * comes next clears away what those left, tmpfs first.
 */

import { chmod, mkdir, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

import {
  errorMessage,
  isProcessAlive,
  present,
  processIdentity,
  runCommand,
  type Log,
} from '../base/index.ts';
import { diskBlockBytes } from './archive-plan.ts';
import { ArchiveNoSpaceError } from './errors.ts';

export interface CodeSpaceOptions {
  /** Absolute; shared by all processes of the worker. */
  readonly directory: string;
  /** 0: nothing in memory. Else this process must be allowed to mount. */
  readonly memoryMaxBytes: number;
  readonly diskMaxBytes: number;
  /** Removes a directory and all in it, in its own time. */
  readonly removeTree: (directory: string) => Promise<void>;
  readonly log: Log;
}

/** A directory for one archive; give it back to remove it. */
export interface CodePlace {
  readonly path: string;
  readonly kind: 'memory' | 'disk';
  readonly sizeBytes: number;
}

export class CodeSpace {
  readonly #options: CodeSpaceOptions;
  readonly #usedBytes = { memory: 0, disk: 0 };
  readonly #removals = new Set<Promise<void>>();
  #own: Promise<string> | undefined;
  #placesMade = 0;

  constructor(options: CodeSpaceOptions) {
    this.#options = options;
  }

  /** Makes ready what the first place needs. */
  prepare(): void {
    this.#ownDirectory().catch(() => {}); // who asks for a place is told
  }

  /** An empty directory, traversable for all. Throws `ERR_ARCHIVE_NO_SPACE`, and what the file system or mount(8) says. */
  async take(name: string, sizeBytes: number): Promise<CodePlace> {
    const kind = this.#reserve(sizeBytes);
    this.#placesMade += 1;
    try {
      const path = join(await this.#ownDirectory(), kind, `${name}-${this.#placesMade}`);
      await mkdir(path);
      await chmod(path, 0o755); // whatever the umask
      return { path, kind, sizeBytes };
    } catch (thrown) {
      this.#usedBytes[kind] -= sizeBytes;
      throw thrown;
    }
  }

  /** Removes it in its own time. What cannot be removed keeps its share of the space. */
  giveBack({ path, kind, sizeBytes }: CodePlace): void {
    this.#removeLater(path, () => (this.#usedBytes[kind] -= sizeBytes));
  }

  /** When all that was given back is gone; the next process clears away what is left. */
  async close(): Promise<void> {
    const own = await this.#own?.catch(() => undefined);
    while (this.#removals.size > 0) await Promise.all(this.#removals);
    if (own === undefined) return;
    await this.#unmount(own);
    for (const path of [join(own, 'memory'), join(own, 'disk'), own]) {
      await rmdir(path).catch(() => {});
    }
  }

  #reserve(sizeBytes: number): CodePlace['kind'] {
    const { memory, disk } = this.#usedBytes;
    const { memoryMaxBytes, diskMaxBytes } = this.#options;
    const kind = memory + sizeBytes <= memoryMaxBytes ? 'memory' : 'disk';
    if (kind === 'disk' && disk + sizeBytes > diskMaxBytes) {
      throw new ArchiveNoSpaceError(
        `it takes ${sizeBytes} bytes, and others that are in use take ${memory} of ${memoryMaxBytes} in memory ` +
          `("functions.code_memory_bytes") and ${disk} of ${diskMaxBytes} on disk ("functions.code_disk_bytes")`,
      );
    }
    this.#usedBytes[kind] += sizeBytes;
    return kind;
  }

  #ownDirectory(): Promise<string> {
    this.#own ??= this.#claim().catch((thrown: unknown) => {
      this.#own = undefined; // what was missing may be there at the next call
      throw thrown;
    });
    return this.#own;
  }

  async #claim(): Promise<string> {
    const { directory, memoryMaxBytes } = this.#options;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const own = join(directory, present(await processIdentity(process.pid), 'own identity'));
    for (const name of await readdir(directory)) {
      const left = join(directory, name);
      if (await isProcessAlive(name)) continue;
      await this.#unmount(left);
      this.#removeLater(left, () => {});
    }
    await mkdir(join(own, 'disk'), { recursive: true, mode: 0o700 });
    await mkdir(join(own, 'memory'), { recursive: true, mode: 0o700 });
    if (memoryMaxBytes === 0) return own;
    const inodes = Math.ceil(memoryMaxBytes / diskBlockBytes) + 1024;
    const limits = `size=${memoryMaxBytes},nr_inodes=${inodes}`;
    const options = `${limits},mode=0700,nosuid,nodev`;
    await runCommand('mount', ['-t', 'tmpfs', '-o', options, 'thaw-code', join(own, 'memory')]);
    return own;
  }

  /** A tmpfs that a sandbox still shows lives on in there; nobody else sees it any longer. */
  async #unmount(own: string): Promise<void> {
    await runCommand('umount', ['--lazy', join(own, 'memory')]).catch(() => {}); // none is mounted
  }

  #removeLater(directory: string, removed: () => void): void {
    const removal = this.#options
      .removeTree(directory)
      .then(removed)
      .catch((thrown: unknown) => {
        const reason = errorMessage(thrown);
        this.#options.log.warn('Cannot remove unpacked code', { directory, reason });
      })
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }
}
