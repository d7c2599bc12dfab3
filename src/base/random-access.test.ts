import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import fc from 'fast-check';

import { RandomAccessFile, randomAccessOf, type RandomAccess } from './random-access.ts';

const content = Buffer.from(Array.from({ length: 10_000 }, (_, index) => (index * 7) % 251));
let folder: string;
let file: RandomAccessFile;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'thaw-random-access-'));
  await writeFile(join(folder, 'content'), content);
  file = await RandomAccessFile.open(join(folder, 'content'));
});

after(async () => {
  await file.close();
  await rm(folder, { recursive: true });
});

const kinds: readonly [name: string, make: () => RandomAccess][] = [
  ['a file', () => file],
  ['memory', () => randomAccessOf(content)],
  [
    'a part of a larger array',
    () => randomAccessOf(Buffer.concat([Buffer.alloc(3), content]).subarray(3)),
  ],
];

for (const [name, make] of kinds) {
  test(`reading ${name} fills the whole target with the bytes from the offset on`, async () => {
    const source = make();
    assert.equal(source.sizeBytes, content.length);
    await fc.assert(
      fc.asyncProperty(fc.nat(content.length), fc.nat(content.length), async (a, b) => {
        const [start, end] = [Math.min(a, b), Math.max(a, b)];
        const target = Buffer.alloc(end - start, 0xee);
        await source.read(start, target);
        assert.ok(target.equals(content.subarray(start, end)));
      }),
    );
  });

  test(`reading ${name} writes only into the target, not into the memory around it`, async () => {
    const memory = new Uint8Array(20).fill(0xee);
    await make().read(100, memory.subarray(5, 15));
    assert.deepEqual([...memory.subarray(0, 5), ...memory.subarray(15)], Array(10).fill(0xee));
    assert.deepEqual([...memory.subarray(5, 15)], [...content.subarray(100, 110)]);
  });

  test(`reading ${name} past its end fails by code and says how long it is`, async () => {
    const source = make();
    for (const [offset, length] of [
      [content.length - 1, 2],
      [content.length, 1],
      [content.length + 5000, 1],
      [0, content.length + 1],
    ] as const) {
      await assert.rejects(source.read(offset, Buffer.alloc(length)), {
        code: 'ERR_READ_PAST_END',
        fault: 'data',
        message: /ends at 10000/,
      });
    }
  });

  test(`concurrent reads of ${name} do not disturb each other`, async () => {
    const source = make();
    const targets = Array.from({ length: 50 }, () => Buffer.alloc(100));
    await Promise.all(targets.map((target, index) => source.read(index * 100, target)));
    assert.ok(Buffer.concat(targets).equals(content.subarray(0, 5000)));
  });
}

test('a file that is not there is reported by the system, with its path', async () => {
  await assert.rejects(RandomAccessFile.open(join(folder, 'absent')), {
    code: 'ENOENT',
    message: /absent/,
  });
});

test('a file that was cut short after it was opened fails the read instead of giving old or no bytes', async () => {
  const path = join(folder, 'shrinking');
  await writeFile(path, content);
  await using shrinking = await RandomAccessFile.open(path);
  await writeFile(path, content.subarray(0, 10));
  await assert.rejects(shrinking.read(5, Buffer.alloc(10)), { code: 'ERR_READ_PAST_END' });
});

test('a closed file cannot be read', async () => {
  const closed = await RandomAccessFile.open(join(folder, 'content'));
  await closed[Symbol.asyncDispose]();
  await assert.rejects(closed.read(0, Buffer.alloc(1)));
});
