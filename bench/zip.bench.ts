/**
 * From a zip function's stored archive to its files, as a cold start has it: read from a store on this machine, verified,
 * decrypted and unpacked; beside it Info-ZIP's unzip of the same zip file, which only unpacks. Of real npm packages. Needs root,
 * zip, unzip and npm. `--mb=50`: other than 250 MB of packages, see `packageSizesMb`; `--rounds=3`: other than 7; `--no-disk`: in memory only.
 */

import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { createCodeArchives, type CodeArchives } from '../src/archive/index.ts';
import { createLog, present, runCommand } from '../src/base/index.ts';
import { openLocalKeyring } from '../src/keys/index.ts';
import { openDirectoryStore } from '../src/store/index.ts';
import { apps } from './cold-start/apps.ts';
import { appArchive } from './cold-start/make-images.ts';
import { spread, type Report, type Table } from './harness.ts';

/** What unpacking once came to. */
interface Unpacked {
  /** Of all threads and processes, user and system. */
  readonly cpuMs: number;
  readonly remove: () => Promise<void>;
}

/** One way of unpacking. */
interface Way {
  readonly name: string;
  readonly unpack: () => Promise<Unpacked>;
}

interface Sample {
  readonly ms: number;
  readonly cpuMs: number;
}

/** Source: proc_pid_stat(5), `cutime` and `cstime`, in ticks of 10 ms. */
const unzipAndTell = 'unzip -q "$1" -d "$2" && cut -d")" -f2 /proc/$$/stat | cut -d" " -f15,16';
const tickMs = 10;

const tenant = 'default';
const bytesMax = 2 ** 31;

function option(args: readonly string[], name: string, otherwise: number): number {
  const given = args.find((arg) => arg.startsWith(`--${name}=`));
  return given === undefined ? otherwise : Number(given.slice(name.length + 3));
}

function unzip(file: string, into: string, where: string): Way {
  return {
    name: `unzip, ${where}`,
    unpack: async () => {
      const target = join(into, 'unzipped');
      const { stdout } = await runCommand('sh', ['-c', unzipAndTell, 'sh', file, target]);
      const [user = 0, system = 0] = stdout.trim().split(' ').map(Number);
      const cpuMs = (user + system) * tickMs;
      return { cpuMs, remove: async () => await rm(target, { recursive: true }) };
    },
  };
}

function thaw(
  archives: CodeArchives,
  of: Parameters<CodeArchives['unpack']>[0],
  where: string,
): Way {
  return {
    name: `Thaw, ${where}`,
    unpack: async () => {
      const before = process.cpuUsage();
      const lease = await archives.unpack(of);
      const { user, system } = process.cpuUsage(before);
      const remove = async (): Promise<void> => {
        await lease[Symbol.asyncDispose]();
        while (existsSync(lease.path)) await sleep(20); // or it would slow the next one down
      };
      return { cpuMs: (user + system) / 1000, remove };
    },
  };
}

async function prepare(directory: string, file: string, made: AsyncDisposableStack) {
  const memory = join(directory, 'memory');
  await mkdir(memory);
  await runCommand('mount', ['-t', 'tmpfs', 'thaw-bench', memory]);
  made.defer(async () => void (await runCommand('umount', [memory])));
  const shared = {
    store: await openDirectoryStore(join(directory, 'store')),
    keys: await openLocalKeyring(join(directory, 'keyring.json')),
    activeRoot: async () => 'root',
    diskMaxBytes: bytesMax,
    log: createLog({ level: 'warn', write: (line) => process.stderr.write(line) }),
  };
  const open = (memoryMaxBytes: number): CodeArchives =>
    made.use(
      createCodeArchives({
        ...shared,
        directory: join(directory, `code-${memoryMaxBytes}`),
        memoryMaxBytes,
      }),
    );
  const [inMemory, onDisk] = [open(bytesMax), open(0)];
  const stored = await inMemory.accept(tenant, await readFile(file));
  const of = { tenant, ...stored };
  const ways = [
    unzip(file, memory, 'in memory'),
    thaw(inMemory, of, 'in memory'),
    unzip(file, directory, 'on disk'),
    thaw(onDisk, of, 'on disk'),
  ];
  return { stored, ways };
}

async function measure(ways: readonly Way[], rounds: number): Promise<readonly Sample[][]> {
  const samples: Sample[][] = ways.map(() => []);
  for (let round = -1; round < rounds; round += 1) {
    for (let turn = 0; turn < ways.length; turn += 1) {
      const index = (turn + round + 1) % ways.length;
      const startedMs = performance.now();
      const { cpuMs, remove } = await present(ways[index], 'way').unpack();
      if (round >= 0) samples[index]?.push({ ms: performance.now() - startedMs, cpuMs });
      await remove();
    }
  }
  return samples;
}

function tableOf(title: string, ways: readonly Way[], samples: readonly Sample[][]): Table {
  const rows = ways.map(({ name }, index) => {
    const own = samples[index] ?? [];
    const reference = samples[index - (index % 2)] ?? []; // unzip to the same place
    const ms = spread(own.map((sample) => sample.ms));
    const ratio = spread(own.map((sample, round) => sample.ms / (reference[round]?.ms ?? NaN)));
    const cpuMs = spread(own.map((sample) => sample.cpuMs));
    return [
      name,
      ...[ratio.min, ratio.median, ratio.max].map((value) => value.toFixed(2)),
      ...[ms.min, ms.median, ms.max, cpuMs.median].map((value) => value.toFixed(0)),
    ];
  });
  const columns = ['', 'ratio min', 'median', 'max', 'ms min', 'median', 'max', 'CPU ms median'];
  return { title, columns, rows };
}

export const report: Report = {
  title: 'From a stored zip archive to its files',
  run: async (args) => {
    const [mb, rounds] = [option(args, 'mb', 250), option(args, 'rounds', 7)];
    const app = apps.find(({ packages }) => packages?.mb === mb);
    const archive = await appArchive(present(app, `app with ${mb} MB of packages`));
    await using made = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), 'thaw-bench-zip-'));
    made.defer(() => rm(directory, { recursive: true }));
    const file = join(directory, 'code.zip');
    await copyFile(archive, file);
    const { stored, ways: all } = await prepare(directory, file, made);
    const ways = args.includes('--no-disk') ? all.slice(0, 2) : all;
    const sizes = [stored.codeSizeBytes, stored.unpackedBytes].map((bytes) =>
      (bytes / 1e6).toFixed(0),
    );
    const title = `${sizes[1]} MB of npm packages, ${sizes[0]} MB zipped; ${rounds} rounds`;
    return [tableOf(title, ways, await measure(ways, rounds))];
  },
};
