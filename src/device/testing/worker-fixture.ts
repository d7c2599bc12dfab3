/** A worker to test against: a reference disk made by mke2fs, its chunks in an origin, and an agent of its own. */

import { spawn } from 'node:child_process';
import { hash, randomBytes } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { mkdir, mkdtemp, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { needsPrograms } from '../../../test/support/programs.ts';
import { runCommand, toHex } from '../../base/index.ts';
import { sealChunk, type Manifest, type ManifestChunk } from '../../chunk/index.ts';
import { chunkObjectName, manifestObjectName } from '../../store/index.ts';
import { AgentClient } from '../agent/agent-client.ts';
import type { ImageRef } from '../images/block-images.ts';
import {
  encodeManifest,
  processCommand,
  takenStatus,
  type AgentSettings,
  type OriginSettings,
} from './processes.ts';

export const chunkSizeBytes = 512 * 1024;
/** How long the start of an agent may take. Two Nodes start one after the other, on a machine that may be very busy. */
export const startTimeoutMs = 120_000;
const rootId = 'test-root';
const salt = Buffer.alloc(32, 7);

/** Why the tests of this room cannot run here; false if they can. */
export function missingHere(): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  try {
    accessSync('/dev/fuse', constants.R_OK);
    accessSync('/dev/loop-control', constants.R_OK);
  } catch {
    return 'needs /dev/fuse and /dev/loop-control';
  }
  return needsPrograms('mke2fs', 'e2fsck', 'mount');
}

/** A file tree of some megabytes whose contents no compression or zero elision makes smaller. */
export async function writeSampleTree(dir: string, files: number): Promise<void> {
  for (let index = 0; index < files; index += 1) {
    const path = join(dir, `dir-${index % 7}`, `file-${index}`);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, randomBytes(1 + ((index * 7919) % 900_000)));
  }
}

/** An ext4 image of the tree in `dir`, by e2fsprogs: an implementation that is not ours. */
export async function makeReferenceDisk(
  dir: string,
  diskPath: string,
  size: string,
): Promise<void> {
  const options = ['-q', '-F', '-t', 'ext4', '-b4096', '-m0', '-O', '^has_journal', '-d', dir];
  await runCommand('mke2fs', [...options, diskPath, size]);
}

/** Reads past the page cache, so that each read reaches the agent. */
export async function readDirect(path: string, offset: number, sizeBytes: number): Promise<Buffer> {
  const args = [`if=${path}`, 'iflag=direct,skip_bytes,count_bytes', 'bs=1M', 'status=none'];
  const dd = spawn('dd', [...args, `skip=${offset}`, `count=${sizeBytes}`]);
  const parts: Buffer[] = [];
  dd.stdout.on('data', (part: Buffer) => parts.push(part));
  dd.stderr.resume();
  const status = await new Promise<number | null>((resolve) => dd.once('close', resolve));
  if (status !== 0) throw Object.assign(new Error('dd failed'), { code: 'EIO' });
  return Buffer.concat(parts);
}

export class WorkerFixture implements AsyncDisposable {
  readonly dir: string;
  readonly runDir: string;
  readonly originDir: string;
  readonly #clients: AgentClient[] = [];

  private constructor(dir: string) {
    this.dir = dir;
    this.runDir = join(dir, 'run');
    this.originDir = join(dir, 'origin');
  }

  static async create(settings: Partial<AgentSettings> = {}): Promise<WorkerFixture> {
    const dir = await realpath(await mkdtemp(join(tmpdir(), 'thaw-device-')));
    const fixture = new WorkerFixture(dir);
    await mkdir(fixture.originDir);
    await fixture.setOrigin({});
    await fixture.setAgents(settings);
    return fixture;
  }

  /** For agents started from now on. */
  async setAgents(settings: Partial<AgentSettings>): Promise<void> {
    const agent: AgentSettings = {
      memoryBytes: 64 * chunkSizeBytes,
      readDeadlineMs: 60_000, // ends tests that hang; others read for as long as it takes
      exitWhenIdle: false,
      giveUpAfterMs: 60_000,
      ...settings,
    };
    await this.#set('agent.json', agent);
  }

  async setOrigin(settings: OriginSettings): Promise<void> {
    await this.#set('settings.json', settings);
  }

  /** As a whole: a process may be reading it. */
  async #set(name: string, settings: object): Promise<void> {
    const path = join(this.originDir, name);
    await writeFile(`${path}.new`, JSON.stringify(settings));
    await rename(`${path}.new`, path);
  }

  /** A disk of a sample tree, which stays in the fixture's directory. */
  async sampleDisk(files: number, size: string): Promise<{ tree: string; disk: Buffer }> {
    const tree = join(this.dir, 'tree');
    const path = join(this.dir, 'disk.img');
    await mkdir(tree);
    await writeSampleTree(tree, files);
    await makeReferenceDisk(tree, path, size);
    return { tree, disk: await readFile(path) };
  }

  /** Seals the disk into the origin; what opens it. */
  async publish(disk: Uint8Array, tenant = 'tenant-a'): Promise<ImageRef> {
    const chunks: ManifestChunk[] = [];
    const chunkKeys: Uint8Array[] = [];
    for (let at = 0; at < disk.byteLength; at += chunkSizeBytes) {
      const sealed = sealChunk(disk.subarray(at, at + chunkSizeBytes), salt);
      if (sealed === undefined) continue;
      const { ciphertext, ciphertextDigest, key, storedLengthBytes } = sealed;
      const index = at / chunkSizeBytes;
      chunks.push({ index, storedLengthBytes, codec: 'none', ciphertextDigest });
      chunkKeys.push(key);
      await this.#put(chunkObjectName(rootId, toHex(ciphertextDigest)), ciphertext);
    }
    const diskSizeBytes = disk.byteLength;
    const header = { diskFormatVersion: 1, rootId, diskSizeBytes, chunkSizeBytes, chunks };
    const imageDocument = Buffer.from(tenant);
    const manifest: Manifest = { ...header, chunkKeys, imageDocument };
    const sealed = encodeManifest(manifest);
    const manifestId = hash('sha256', sealed);
    await this.#put(manifestObjectName(rootId, manifestId), sealed);
    return { rootId, manifestId, tenant };
  }

  /** The agent of this worker; started on the first call. */
  async agent(mode: 'child' | 'detached' = 'child'): Promise<AgentClient> {
    return this.#clients[0] ?? (await this.connect(mode));
  }

  /** Another client of the agent, which it starts if there is none. */
  async connect(mode: 'child' | 'detached' = 'child'): Promise<AgentClient> {
    const command = processCommand('holder', this.runDir, this.originDir);
    const client = new AgentClient({
      runDir: this.runDir,
      spawn: { command, mode, takenStatus },
      connectTimeoutMs: startTimeoutMs,
    });
    this.#clients.push(client); // also if it fails: what it has started must end
    await client.status();
    return client;
  }

  /** Names of the objects fetched so far, in order. */
  async fetches(): Promise<string[]> {
    const log = await readFile(join(this.originDir, 'fetches.log'), 'utf8').catch(() => '');
    return log.split('\n').filter((line) => line.includes('/chunks/'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client.shutdown();
    // A process that is just ending may still write there.
    await rm(this.dir, { recursive: true, force: true, maxRetries: 10 });
  }

  async #put(name: string, bytes: Uint8Array): Promise<void> {
    const path = join(this.originDir, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
  }
}
