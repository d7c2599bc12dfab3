/**
 * What an agent must know of the agent before it: the open images with their node ids, in a file that is replaced as a
 * whole, and the sealed manifests beside it, so that a restart needs neither origin nor catalog.
 */

import { renameSync, writeFileSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { errorCode } from '../../base/index.ts';
import type { ZoneServerSetting } from '../../cache/index.ts';
import { FUSE_ROOT_ID } from '../fuse/fuse-protocol.ts';
import type { ImageEntry } from '../images/served-image.ts';

export interface AgentStateFile {
  /** The least node id that no image ever had. */
  readonly nextNodeId: number;
  readonly images: readonly ImageEntry[];
  /** Users of theirs whose images were found mounted. */
  readonly mounted: readonly string[];
}

const nothing: AgentStateFile = { nextNodeId: FUSE_ROOT_ID + 1, images: [], mounted: [] };

export class AgentState {
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  static async open(dir: string): Promise<AgentState> {
    await mkdir(join(dir, 'manifests'), { recursive: true, mode: 0o700 });
    return new AgentState(dir);
  }

  /** What was saved last; nothing if this is the first agent on its mount. */
  async load(): Promise<AgentStateFile> {
    try {
      return JSON.parse(await readFile(this.#statePath, 'utf8')) as AgentStateFile;
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') return nothing;
      throw thrown;
    }
  }

  /** When it returns, an agent killed at any moment leaves this state, not a part of it. */
  save(state: AgentStateFile): void {
    this.#replace(this.#statePath, JSON.stringify(state));
  }

  saveManifest(nodeId: number, sealed: Uint8Array): void {
    this.#replace(this.#manifestPath(nodeId), sealed);
  }

  async loadManifest(nodeId: number): Promise<Uint8Array> {
    return readFile(this.#manifestPath(nodeId));
  }

  async removeManifest(nodeId: number): Promise<void> {
    await rm(this.#manifestPath(nodeId), { force: true });
  }

  /** What was saved last; undefined if this holder's agents were given none but those that they started with. */
  async loadZoneServers(): Promise<readonly ZoneServerSetting[] | undefined> {
    try {
      return JSON.parse(await readFile(this.#zoneServersPath, 'utf8')) as ZoneServerSetting[];
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') return undefined;
      throw thrown;
    }
  }

  saveZoneServers(servers: readonly ZoneServerSetting[]): void {
    this.#replace(this.#zoneServersPath, JSON.stringify(servers));
  }

  get #zoneServersPath(): string {
    return join(this.#dir, 'zone-servers.json');
  }

  get #statePath(): string {
    return join(this.#dir, 'images.json');
  }

  /** By node: an image that is closed and opened again at once must not lose its new copy with the old one. */
  #manifestPath(nodeId: number): string {
    return join(this.#dir, 'manifests', String(nodeId));
  }

  /**
   * No fsync: after a power failure there is no mount either that the state would be about. Without giving way: it takes a tenth of a millisecond,
   * and handing each of its steps to another thread makes whoever opens an image wait for all that this one has to do meanwhile.
   */
  #replace(path: string, content: string | Uint8Array): void {
    writeFileSync(`${path}.new`, content, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }
}
