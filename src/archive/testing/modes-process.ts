/**
 * Unpacks a small archive in a process of its own, whose umask may be any, and prints the modes of what comes out, as JSON.
 * Its argument is a directory to work in.
 */

import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { createLog } from '../../base/index.ts';
import { openLocalKeyring } from '../../keys/index.ts';
import { memoryStore } from '../../store/testing/memory-store.ts';
import { createCodeArchives } from '../local-code-archives.ts';
import { directoryMode, makeZip } from './make-zip.ts';

const [dir = ''] = process.argv.slice(2);
await using archives = createCodeArchives({
  store: memoryStore(),
  keys: await openLocalKeyring(join(dir, 'keyring.json')),
  activeRoot: async () => 'root',
  directory: join(dir, 'code'),
  memoryMaxBytes: 0,
  diskMaxBytes: 2 ** 30,
  log: createLog({ level: 'warn', format: 'text', write: (line) => process.stderr.write(line) }),
});
const zip = makeZip([
  { name: 'named/', mode: directoryMode },
  { name: 'implied/private', mode: 0o100600 },
  { name: 'implied/program', mode: 0o100755 },
]);
const stored = await archives.accept('default', zip);
await using lease = await archives.unpack({ tenant: 'default', ...stored });
const modes: Record<string, string> = { '.': (await lstat(lease.path)).mode.toString(8) };
for (const name of await readdir(lease.path, { recursive: true })) {
  modes[name] = (await lstat(join(lease.path, name))).mode.toString(8);
}
process.stdout.write(JSON.stringify(modes));
