import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

import Database from 'better-sqlite3';

import { errorCode } from '../base/index.ts';
import type { FunctionRecord } from './function-records.ts';
import { openCatalog } from './sqlite-catalog.ts';
import { catalogConformance } from './testing/catalog-conformance.ts';
import { functionRecord, functionSettings, imageRecord, manifestIdOf } from './testing/records.ts';

async function temporaryDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'thaw-catalog-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

catalogConformance({
  name: 'SQLite',
  create: async () => {
    const directory = await temporaryDirectory();
    return {
      open: () => openCatalog(join(directory.path, 'catalog.db')),
      [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
    };
  },
});

function startAdding(path: string, prefix: string, count: number): ChildProcess {
  const program = join(import.meta.dirname, 'testing', 'add-images.ts');
  return spawn(process.execPath, [program, path, prefix, String(count)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

/** The ids that the process reports; `onLine` sees how many so far. */
async function reportedIds(
  child: ChildProcess,
  onLine: (count: number) => void = () => {},
): Promise<string[]> {
  assert.ok(child.stdout !== null);
  const ids: string[] = [];
  const closed = once(child, 'close');
  for await (const line of createInterface({ input: child.stdout })) {
    ids.push(line);
    onLine(ids.length);
  }
  await closed;
  return ids;
}

async function assertCode(code: string, path: string): Promise<void> {
  await assert.rejects(openCatalog(path), (thrown) => errorCode(thrown) === code);
}

test('openCatalog() keeps what was added for the next time it is opened', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'new', 'catalog.db');
  {
    await using catalog = await openCatalog(path);
    await catalog.addImage(imageRecord());
  }
  await using catalog = await openCatalog(path);
  assert.deepEqual(await catalog.listImages('default'), [imageRecord()]);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test('openCatalog() by several processes at once on a fresh path makes one catalog with all they add', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'catalog.db');
  const prefixes = ['aaaa', 'bbbb', 'cccc'];
  const reported = await Promise.all(
    prefixes.map((prefix) => reportedIds(startAdding(path, prefix, 40))),
  );
  await using catalog = await openCatalog(path);
  for (const [index, prefix] of prefixes.entries()) {
    const ids = (await catalog.listImages(prefix)).map((image) => image.manifestId);
    assert.deepEqual(ids.sort(), reported[index]);
    assert.equal(ids.length, 40);
  }
  assert.equal(await catalog.activeRoot(), 'r1');
});

test('a process killed while two add images loses none that it reported, and the other goes on', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'catalog.db');
  const killed = startAdding(path, 'aaaa', 1_000_000);
  const lives = startAdding(path, 'bbbb', 200);
  const [killedIds, livingIds] = await Promise.all([
    reportedIds(killed, (count) => {
      if (count === 60) killed.kill('SIGKILL');
    }),
    reportedIds(lives),
  ]);
  assert.equal(killed.signalCode, 'SIGKILL');
  assert.equal(livingIds.length, 200);
  await using catalog = await openCatalog(path);
  const found = new Set((await catalog.listImages('aaaa')).map((image) => image.manifestId));
  for (const id of killedIds) assert.ok(found.has(id), `lost ${id}`);
  assert.equal((await catalog.listImages('bbbb')).length, 200);
  const integrity = new Database(path, { readonly: true });
  assert.equal(integrity.pragma('integrity_check', { simple: true }), 'ok');
  integrity.close();
});

/** A catalog as Thaw made it before functions had versions: two tenants, each with an image, and three functions. */
async function writeOldCatalog(path: string, change = ''): Promise<void> {
  const golden = join(import.meta.dirname, '../../test/golden/catalog-0002.sql');
  const database = new Database(path);
  database.pragma('foreign_keys = OFF');
  database.exec(await readFile(golden, 'utf8'));
  database.exec(change);
  assert.deepEqual(database.pragma('foreign_key_check'), []);
  database.close();
}

test('images of a catalog from before there were codecs are plain ones', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'catalog.db');
  await writeOldCatalog(
    path,
    `alter table images drop column codec;
     delete from kysely_migration where name = '0002-image-codec'`,
  );
  await using catalog = await openCatalog(path);
  assert.deepEqual(await catalog.listImages('default'), [imageRecord()]);
});

test('functions of a catalog from before there were versions are the $LATEST of theirs', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'catalog.db');
  await writeOldCatalog(path);
  await using catalog = await openCatalog(path);
  const expected = (fields: Parameters<typeof functionRecord>[0] = {}) => {
    const record = functionRecord(fields);
    assert.equal(record.code.packageType, 'Image');
    const { manifestId = '' } = record.code as { readonly manifestId?: string };
    const { revisionId: _fresh, ...others } = record;
    return { ...others, code: { ...record.code, imageUri: manifestId } };
  };
  const withoutRevision = ({ revisionId, ...others }: FunctionRecord) => {
    assert.match(revisionId, /^[0-9a-f-]{36}$/);
    return others;
  };
  const { items } = await catalog.listFunctions('default', { itemsMax: 10 });
  assert.deepEqual(items.map(withoutRevision), [
    expected({
      name: 'full',
      memoryMb: 10_240,
      timeoutSeconds: 900,
      environment: { A1: 'ö\n"\'', AB: '' },
      entrypoint: [],
      command: ['a b', ''],
      workingDir: '/srv',
      updatedAtMs: 1_800_000_000_001,
    }),
    expected(),
  ]);
  const other = await catalog.listFunctions('other', { itemsMax: 10 });
  assert.deepEqual(other.items.map(withoutRevision), [
    expected({ tenant: 'other', manifestId: manifestIdOf(2), codeSha256: 'e'.repeat(64) }),
  ]);
  assert.deepEqual(await catalog.findFunctionSettings('default', 'full'), {
    ...functionSettings({ name: 'full' }),
  });
  await assert.rejects(
    catalog.removeImage('default', manifestIdOf(1)),
    (thrown) => errorCode(thrown) === 'ERR_CATALOG_IMAGE_IN_USE',
  );
});

test('openCatalog() refuses a catalog of a newer Thaw and leaves it as it is', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'catalog.db');
  await (await openCatalog(path))[Symbol.asyncDispose]();
  const database = new Database(path);
  database.exec(`insert into kysely_migration values ('9999-from-the-future', '2030-01-01')`);
  database.close();
  const before = await readFile(path);
  await assertCode('ERR_CATALOG_NEWER', path);
  assert.deepEqual(await readFile(path), before);
});

test("openCatalog() refuses what is not a database, or another program's, and leaves it as it is", async () => {
  await using directory = await temporaryDirectory();
  const text = join(directory.path, 'text.db');
  await writeFile(text, 'no database at all\n'.repeat(500));
  const foreign = join(directory.path, 'foreign.db');
  const database = new Database(foreign);
  database.exec('create table bookmarks (url text)');
  database.close();
  for (const path of [text, foreign]) {
    const before = await readFile(path);
    await assertCode('ERR_CATALOG_CORRUPT', path);
    assert.deepEqual(await readFile(path), before);
  }
});

test('openCatalog() refuses a truncated catalog and leaves it as it is', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'catalog.db');
  await (await openCatalog(path))[Symbol.asyncDispose]();
  await truncate(path, 5000);
  const before = await readFile(path);
  await assertCode('ERR_CATALOG_CORRUPT', path);
  assert.deepEqual(await readFile(path), before);
});

test('a damaged page is an error with a code when a call meets it', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'catalog.db');
  {
    await using catalog = await openCatalog(path);
    for (let number = 0; number < 200; number += 1) {
      await catalog.addImage(imageRecord({ manifestId: manifestIdOf(number) }));
    }
  }
  const bytes = await readFile(path);
  bytes.fill(0xa5, bytes.byteLength / 2);
  await writeFile(path, bytes);
  await using catalog = await openCatalog(path);
  await assert.rejects(
    catalog.listImages('default'),
    (thrown) => errorCode(thrown) === 'ERR_CATALOG_CORRUPT',
  );
});

test('a call that finds the database locked for too long is told that it is busy', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'catalog.db');
  await using catalog = await openCatalog(path, { busyTimeoutMs: 100 });
  const other = new Database(path);
  other.exec('begin immediate');
  await assert.rejects(
    catalog.addImage(imageRecord()),
    (thrown) => errorCode(thrown) === 'ERR_CATALOG_BUSY',
  );
  assert.deepEqual(await catalog.listImages('default'), [], 'readers do not wait for a writer');
  other.exec('rollback');
  other.close();
  assert.deepEqual(await catalog.addImage(imageRecord()), imageRecord());
});

test('images go into the newest active root, and into no root that has expired', async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, 'catalog.db');
  await using catalog = await openCatalog(path);
  const database = new Database(path);
  database.exec(`update roots set state = 'retired'`);
  await assert.rejects(
    catalog.activeRoot(),
    (thrown) => errorCode(thrown) === 'ERR_CATALOG_NO_SUCH_ROOT',
  );
  await catalog.addImage(imageRecord());
  database.exec(`insert into roots values ('r2', 'active', ${Date.now() + 1000})`);
  assert.equal(await catalog.activeRoot(), 'r2');
  database.exec(`update roots set state = 'expired' where id = 'r1'`);
  await assert.rejects(
    catalog.addImage(imageRecord({ manifestId: manifestIdOf(2) })),
    (thrown) => errorCode(thrown) === 'ERR_CATALOG_NO_SUCH_ROOT',
  );
  database.close();
});

test('openCatalog() says so where it can make no file', async () => {
  await using directory = await temporaryDirectory();
  const file = join(directory.path, 'file');
  await writeFile(file, '');
  await assertCode('ERR_CATALOG_UNAVAILABLE', join(file, 'catalog.db'));
  await assertCode('ERR_CATALOG_UNAVAILABLE', directory.path);
});
