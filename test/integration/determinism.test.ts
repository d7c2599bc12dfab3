/**
 * The same layers give the same disk, whatever the time zone, locale, version of Node, hash seed and number of cores, and
 * in whatever order layers arrive.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { arch, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';

import { present, runCommand } from '../../src/base/index.ts';
import { decodeManifestHeader, type ManifestHeader } from '../../src/chunk/index.ts';
import { manifestObjectName, openDirectoryStore } from '../../src/store/index.ts';
import { startFaultProxy, type Fault, type ProxiedRequest } from '../support/fault-proxy.ts';
import { writeOciLayout } from '../support/oci-layout.ts';
import { needsPrograms } from '../support/programs.ts';
import { registryMissing, startRegistry } from '../support/registry.ts';
import { buildTar, type TarBuilderEntry } from '../support/tar-builder.ts';
import { Thaw } from '../support/thaw.ts';

const printDigests = join(import.meta.dirname, '../support/print-disk-digests.ts');

interface Circumstances {
  readonly program?: string;
  /** What runs Node, if it does not run by itself. */
  readonly under?: readonly [program: string, args: readonly string[]];
  readonly nodeOptions?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

async function digestsUnder(circumstances: Circumstances): Promise<Record<string, string>> {
  const { program = process.execPath, under, nodeOptions = [], environment } = circumstances;
  const nodeArgs = ['--no-warnings', ...nodeOptions, printDigests];
  const [command, args] =
    under === undefined ? [program, nodeArgs] : [under[0], [...under[1], program, ...nodeArgs]];
  const { stdout } = await runCommand(command, args, {
    env: { ...process.env, ...environment },
    timeoutMs: 240_000,
  });
  return JSON.parse(stdout) as Record<string, string>;
}

suite('the same disks come', () => {
  let expected: Record<string, string> = {};
  before(async () => {
    expected = await digestsUnder({});
    assert.ok(Object.keys(expected).length > 10);
  });

  const settings: Readonly<Record<string, Circumstances>> = {
    'in the first time zone of the day, under a Turkish locale': {
      environment: { TZ: 'Pacific/Kiritimati', LC_ALL: 'tr_TR.UTF-8', LANG: 'tr_TR.UTF-8' },
    },
    'in the last time zone of the day, under no locale, with other hash seeds': {
      environment: { TZ: 'Pacific/Pago_Pago', LC_ALL: 'C', LANG: 'C' },
      nodeOptions: ['--hash-seed=20261123', '--random-seed=7'],
    },
    'without threads to spare': {
      environment: { UV_THREADPOOL_SIZE: '1' },
      nodeOptions: ['--single-threaded'],
    },
    'with threads to spare': { environment: { UV_THREADPOOL_SIZE: '16' } },
  };
  for (const [name, circumstances] of Object.entries(settings)) {
    test(name, async () => assert.deepEqual(await digestsUnder(circumstances), expected));
  }

  test('on one core', { skip: needsPrograms('taskset') }, async () => {
    assert.deepEqual(await digestsUnder({ under: ['taskset', ['-c', '0']] }), expected);
  });

  // One below and one above ours, as npm's registry has them.
  for (const version of ['22.23.3', '26.10.0']) {
    test(`under Node ${version}`, { skip: needsPrograms('npm') }, async () => {
      const directory = await mkdtemp(join(tmpdir(), 'thaw-node-'));
      try {
        const program = await otherNode(version, directory);
        const { stdout } = await runCommand(program, ['--version']);
        assert.equal(stdout.trim(), `v${version}`);
        assert.deepEqual(await digestsUnder({ program }), expected);
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    });
  }
});

/** Installs another Node into `directory`, from the package that ours comes from too. */
async function otherNode(version: string, directory: string): Promise<string> {
  const name = `node-linux-${arch()}`;
  const options = [
    '--no-save',
    '--no-audit',
    '--no-fund',
    '--ignore-scripts',
    '--prefix',
    directory,
  ];
  await runCommand('npm', ['install', ...options, `${name}@${version}`], { timeoutMs: 240_000 });
  return join(directory, 'node_modules', name, 'bin/node');
}

const layerFiles = (layer: number): TarBuilderEntry[] =>
  Array.from({ length: 60 }, (_, index) => {
    return {
      path: `d${index % 7}/layer-${layer}-${index}`,
      content: `${layer}-`.repeat(index * 90),
    };
  });

suite('the same disk comes of layers', { skip: registryMissing }, () => {
  let work = '';
  before(async () => {
    work = await mkdtemp(join(tmpdir(), 'thaw-determinism-'));
  });
  after(() => rm(work, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 }));

  test('that arrive in order, at once, and the lowest last', async () => {
    const layers = [0, 1, 2, 3].map((layer) => ({ tar: buildTar(layerFiles(layer)) }));
    const written = await writeOciLayout(join(work, 'layout'), { layers, tag: 'image' });
    await using registry = await startRegistry();
    await registry.push(`oci:${join(work, 'layout')}:image`, 'test:image');
    const [lowest, second] = written.layers.map(({ digest }) => digest);

    const fromLayout = await diskOf(`oci:${join(work, 'layout')}:image`);
    const fromRegistry = await diskOf(`docker://${registry.host}/test:image`, '--plain-http');

    const others = Promise.withResolvers<void>();
    const holdLowest = ({ method, path, answered }: ProxiedRequest): Fault | undefined => {
      if (method !== 'GET') return undefined;
      if (path.endsWith(`${second}`)) void answered.then(others.resolve);
      return path.endsWith(`${lowest}`) ? { kind: 'hold', until: others.promise } : undefined;
    };
    await using proxy = await startFaultProxy(registry.host, holdLowest);
    const held = await diskOf(`docker://${proxy.host}/test:image`, '--plain-http');
    const gets = proxy.requests.filter(({ method }) => method === 'GET').map(({ path }) => path);
    assert.ok(
      gets.some((path) => path.endsWith(`${lowest}`)),
      'the layer came through the proxy',
    );

    assert.equal(fromRegistry, fromLayout);
    assert.equal(held, fromLayout);
  });

  /** Publishes under a state of its own, so that nothing is known before, and gives the disk's digest. */
  async function diskOf(...source: readonly string[]): Promise<string> {
    const root = await mkdtemp(join(work, 'state-'));
    const thaw = new Thaw(root);
    const { manifestId } = await thaw.json<{ manifestId: string }>('image', 'convert', ...source);
    const exported = join(root, 'disk.img');
    await thaw.json('image', 'export', manifestId, exported);
    const { stdout } = await runCommand('e2fsck', ['-f', '-n', exported]);
    assert.match(stdout, /thaw: \d+\/\d+ files/);
    const store = await openDirectoryStore(join(root, 'store'));
    const manifest = await store.get(manifestObjectName('r1', manifestId));
    return await digestOfDisk(exported, decodeManifestHeader(present(manifest, 'the manifest')));
  }
});

/** Of the disk's size and of the chunks that hold anything: the rest is half a terabyte of holes. */
async function digestOfDisk(path: string, manifest: ManifestHeader): Promise<string> {
  const { diskSizeBytes, chunkSizeBytes, chunks } = manifest;
  const hash = createHash('sha256').update(`${diskSizeBytes}\n`);
  await using file = await open(path);
  const bytes = Buffer.alloc(chunkSizeBytes);
  for (const { index } of chunks) {
    await file.read(bytes, 0, chunkSizeBytes, index * chunkSizeBytes);
    hash.update(`${index}\n`).update(bytes);
  }
  return hash.digest('hex');
}
