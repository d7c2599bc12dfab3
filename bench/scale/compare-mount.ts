/** Holds a mounted filesystem against what a huge image is made of: every file, all of its metadata, every byte. */

import assert from 'node:assert/strict';
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';

import { fillContent, type HugeFile, type HugeImage } from './huge-image.ts';

const pieceBytes = 1 << 20;

export interface Compared {
  readonly files: number;
  readonly directories: number;
  readonly bytes: number;
}

/** Throws at the first difference. Needs root: some files nobody else may read. */
export function compareMount(mountPoint: string, image: HugeImage): Compared {
  const expected = new Map(image.flat().map((file) => [file.path, file]));
  const total = { files: 0, directories: 0, bytes: 0 };
  const open = [''];
  for (let directory = open.pop(); directory !== undefined; directory = open.pop()) {
    total.directories += 1;
    for (const entry of readdirSync(join(mountPoint, directory), { withFileTypes: true })) {
      const path = directory === '' ? entry.name : `${directory}/${entry.name}`;
      if (entry.isDirectory()) {
        open.push(path);
        continue;
      }
      const file = expected.get(path);
      assert.ok(entry.isFile() && file !== undefined, `"${path}" is no file of the image`);
      expected.delete(path);
      compareFile(mountPoint, file);
      total.files += 1;
      total.bytes += file.sizeBytes;
    }
  }
  assert.deepEqual([...expected.keys()].slice(0, 10), [], 'every file is there');
  return total;
}

const wanted = Buffer.alloc(pieceBytes);
const found = Buffer.alloc(pieceBytes);

function compareFile(mountPoint: string, file: HugeFile): void {
  const fd = openSync(join(mountPoint, file.path), 'r');
  try {
    const { size, mode, uid, gid, nlink, mtimeNs } = fstatSync(fd, { bigint: true });
    const { seconds, nanoseconds } = file.modified;
    assert.deepEqual(
      [size, mode & 0o7777n, uid, gid, nlink, mtimeNs],
      [
        BigInt(file.sizeBytes),
        BigInt(file.mode),
        BigInt(file.uid),
        0n,
        1n,
        BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds),
      ],
      file.path,
    );
    for (let offset = 0; offset < file.sizeBytes; offset += pieceBytes) {
      const length = Math.min(pieceBytes, file.sizeBytes - offset);
      fillContent(file, offset, wanted.subarray(0, length));
      assert.equal(readSync(fd, found, 0, length, offset), length, file.path);
      const isSame = wanted.subarray(0, length).equals(found.subarray(0, length));
      assert.ok(isSame, `"${file.path}" differs between bytes ${offset} and ${offset + length}`);
    }
  } finally {
    closeSync(fd);
  }
}
