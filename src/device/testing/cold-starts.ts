/** Cold starts of images that are mounted for real, and what tests ask about them. */

import assert from 'node:assert/strict';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { toHex } from '../../base/index.ts';
import { openLocalKeyring } from '../../keys/index.ts';
import { chunkObjectName, manifestObjectName } from '../../store/index.ts';
import type { AgentClient } from '../agent/agent-client.ts';
import type {
  ImageRef,
  MountedRoot,
  ReadCounters,
  RootMounts,
  StartEnd,
} from '../images/block-images.ts';
import { createRootMounts } from '../index.ts';
import type { StartMode } from '../starts/image-starts.ts';
import { planStart, type PageRun } from '../starts/start-plan.ts';
import { openStartProfile } from '../starts/start-profile-seal.ts';
import type { StartProfile } from '../starts/start-profile.ts';
import { decodeManifest, profilePath } from './processes.ts';
import { WorkerFixture, chunkSizeBytes } from './worker-fixture.ts';

/** Some bytes of a file of the sample tree. */
export interface Place {
  readonly name: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface ColdStart {
  readonly reads: ReadCounters;
  readonly end: StartEnd;
  readonly mode: StartMode;
  /** Names of the chunks that the agent asked the origin for until the start ended. */
  readonly fetched: readonly string[];
}

export interface StartChoices {
  /** Default false: nothing is in memory. */
  readonly keepsMemory?: boolean;
  /** Waits until everything that the profile lists was prefetched, or read by the mount itself. Default false. */
  readonly isPrefetched?: boolean;
}

const waitMaxMs = 60_000;

/** Waits until `condition` holds; fails after a minute. */
export async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  const endsAtMs = performance.now() + waitMaxMs;
  while (!(await condition())) {
    assert.ok(performance.now() < endsAtMs, `Waited in vain until ${what}`);
  }
}

export class ColdStarts implements AsyncDisposable {
  readonly worker: WorkerFixture;
  readonly agent: AgentClient;
  readonly roots: RootMounts;
  /** What the disk was made from, and its bytes. */
  readonly tree: string;
  readonly disk: Buffer;
  #imageCount = 0;

  private constructor(
    worker: WorkerFixture,
    { agent, roots }: { readonly agent: AgentClient; readonly roots: RootMounts },
    { tree, disk }: { readonly tree: string; readonly disk: Buffer },
  ) {
    this.worker = worker;
    this.agent = agent;
    this.roots = roots;
    this.tree = tree;
    this.disk = disk;
  }

  /** Of a disk of that size with `files` files, and an agent with room for `slots` chunks. */
  static async create(files: number, size: string, slots: number): Promise<ColdStarts> {
    const memoryBytes = slots * chunkSizeBytes;
    const worker = await WorkerFixture.create({ keepsProfiles: true, memoryBytes });
    try {
      const sample = await worker.sampleDisk(files, size);
      const agent = await worker.agent();
      const mountsDir = join(worker.dir, 'mounts');
      const roots = await createRootMounts({ agent, mountsDir });
      return new ColdStarts(worker, { agent, roots }, sample);
    } catch (thrown) {
      await worker[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.roots.close();
    await this.worker[Symbol.asyncDispose]();
  }

  /** Of the same tree, with another last chunk. */
  async newImage(): Promise<ImageRef> {
    this.#imageCount += 1;
    const changed = Buffer.from(this.disk);
    changed.fill(`${this.#imageCount} `, changed.byteLength - 512);
    return this.worker.publish(changed);
  }

  /** Mounts the image, works with the mount, and says that the start has ended. */
  async start(
    image: ImageRef,
    work: (root: MountedRoot) => Promise<void>,
    { keepsMemory = false, isPrefetched = false }: StartChoices = {},
  ): Promise<ColdStart> {
    if (!keepsMemory) await this.roots.dropCaches();
    const fetchedBefore = (await this.worker.fetches()).length;
    await using root = await this.roots.acquire(image);
    const mode = await this.mode(image);
    if (isPrefetched) await this.#untilPrefetched(image);
    await work(root);
    const fetched = (await this.worker.fetches()).slice(fetchedBefore);
    const end = await this.roots.startEnded(image);
    return { reads: await this.roots.counters(image), end, mode, fetched };
  }

  /** Of the start under way. When this resolves, the start pack is in use, if there is one. */
  async mode(image: ImageRef): Promise<StartMode> {
    const stop = new AbortController();
    try {
      for await (const word of this.agent.guideStart(image, stop.signal)) {
        if ('isPacked' in word) return word;
      }
    } finally {
      stop.abort();
    }
    throw new Error('The agent did not say how to start');
  }

  /** All that is to be read ahead by the start under way, once its chunks have come. */
  async pagesAhead(image: ImageRef): Promise<readonly PageRun[]> {
    const runs: PageRun[] = [];
    for await (const word of this.agent.guideStart(image, new AbortController().signal)) {
      if (!('isPacked' in word)) runs.push(...word);
    }
    return runs;
  }

  /** As it lies in the store. */
  async profile(image: ImageRef): Promise<StartProfile> {
    const { originDir } = this.worker;
    const keys = await openLocalKeyring(join(originDir, 'keyring'));
    return openStartProfile(await readFile(profilePath(originDir, image)), image, keys);
  }

  /** The names in the store of the disk's chunks, by their indexes. */
  async diskNames({ rootId, manifestId }: ImageRef): Promise<ReadonlyMap<number, string>> {
    const path = join(this.worker.originDir, manifestObjectName(rootId, manifestId));
    const { chunks } = decodeManifest(await readFile(path));
    return new Map(
      chunks.map(({ index, ciphertextDigest }) => [
        index,
        chunkObjectName(rootId, toHex(ciphertextDigest)),
      ]),
    );
  }

  /** The names in the store of the start pack's chunks; none if there is no pack. */
  async packedNames(image: ImageRef): Promise<readonly string[]> {
    const { pack } = await this.profile(image);
    return (pack?.chunks ?? []).map(({ ciphertextDigest }) =>
      chunkObjectName(image.rootId, toHex(ciphertextDigest)),
    );
  }

  /** Reads one after the other and compares. */
  async readPlaces(rootPath: string, places: readonly Place[]): Promise<void> {
    for (const { name, offset, sizeBytes } of places) {
      const expected = (await readFile(join(this.tree, name))).subarray(offset, offset + sizeBytes);
      await using file = await open(join(rootPath, name));
      const { buffer, bytesRead } = await file.read(Buffer.alloc(sizeBytes), 0, sizeBytes, offset);
      assert.ok(expected.equals(buffer.subarray(0, bytesRead)), `${name} at ${offset}`);
    }
  }

  async readFiles(rootPath: string, names: readonly string[]): Promise<void> {
    for (const name of names) {
      const got = await readFile(join(rootPath, name));
      assert.ok(got.equals(await readFile(join(this.tree, name))), name);
    }
  }

  async #untilPrefetched(image: ImageRef): Promise<void> {
    const planned = planStart(await this.profile(image), chunkSizeBytes);
    const packed = await this.packedNames(image);
    const ofDisk = await this.diskNames(image);
    const names = planned.map(({ isPacked, index }) =>
      isPacked ? packed[index] : ofDisk.get(index),
    );
    const { size } = new Set(names.filter((name) => name !== undefined));
    await until(async () => {
      const { chunks, prefetched } = await this.roots.counters(image);
      return chunks + prefetched.unreadChunks >= size;
    }, `${size} chunks were prefetched`);
  }
}
