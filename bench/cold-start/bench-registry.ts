/** Debian's docker-registry with the functions' images, plain and as eStargz; kept between runs beside the corpus. */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { runCommand } from '../../src/base/index.ts';
import { Daemon, freePort } from './daemon.ts';
import { keptDirectory } from './make-images.ts';

const timeoutMs = 300_000;

export class BenchRegistry implements AsyncDisposable {
  readonly port: number;
  readonly #daemon: Daemon;

  private constructor(port: number, daemon: Daemon) {
    this.port = port;
    this.#daemon = daemon;
  }

  /** `directory`: for its configuration and its log. */
  static async start(directory: string): Promise<BenchRegistry> {
    const storage = join(keptDirectory, 'registry');
    await mkdir(storage, { recursive: true });
    const port = await freePort();
    const configuration = {
      version: '0.1',
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory: storage }, delete: { enabled: false } },
      http: { addr: `127.0.0.1:${port}`, secret: 'of no worth' },
    };
    const configPath = join(directory, 'registry.yml');
    await writeFile(configPath, JSON.stringify(configuration)); // JSON is YAML
    const daemon = await Daemon.start({
      program: 'docker-registry',
      args: ['serve', configPath],
      logPath: join(directory, 'registry.log'),
      isReady: () => fetch(`http://127.0.0.1:${port}/v2/`).then((answer) => answer.text()),
    });
    return new BenchRegistry(port, daemon);
  }

  get pid(): number {
    return this.#daemon.pid;
  }

  /** The digest of an image; undefined if it is not there. */
  async digestOf(name: string, tag: string): Promise<string | undefined> {
    const accept = 'application/vnd.oci.image.manifest.v1+json';
    const answer = await fetch(`http://127.0.0.1:${this.port}/v2/${name}/manifests/${tag}`, {
      method: 'HEAD',
      headers: { accept },
    });
    return answer.ok ? (answer.headers.get('docker-content-digest') ?? undefined) : undefined;
  }

  /** Copies an image that skopeo knows as `source`. */
  async push(source: string, to: string): Promise<void> {
    const flags = ['--preserve-digests', '--insecure-policy', '--dest-tls-verify=false'];
    const places = [source, `docker://127.0.0.1:${this.port}/${to}`];
    await runCommand('skopeo', ['copy', '--quiet', ...flags, ...places], { timeoutMs });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon.end();
  }
}
