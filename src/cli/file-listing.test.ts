import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { byteString, byteStringFromBytes } from '../base/index.ts';
import type { ImageFile } from '../publish/index.ts';
import { formatImageFile, imageFileJson } from './file-listing.ts';

const file: ImageFile = {
  path: byteString('usr/bin/tool'),
  type: 'file',
  mode: 0o755,
  uid: 0,
  gid: 0,
  sizeBytes: 1234,
  modified: { seconds: 1_700_000_000, nanoseconds: 12_345 },
  inode: 12,
  linkCount: 1,
};

test('formatImageFile() writes a line as ls does', () => {
  assert.equal(
    formatImageFile(file),
    '-rwxr-xr-x   1 0/0             1234 2023-11-14T22:13:20Z /usr/bin/tool\n',
  );
  const shown = (change: Partial<ImageFile>): string => formatImageFile({ ...file, ...change });
  assert.match(shown({ path: byteString(''), type: 'directory' }), /^drwx.* \/\n$/);
  assert.match(shown({ type: 'symlink', target: byteString('../x') }), /tool -> \.\.\/x\n$/);
  assert.match(shown({ type: 'block-device', device: { major: 8, minor: 300 } }), /^b.* 8,300 /);
  assert.match(shown({ uid: 4_294_967_294, gid: 100_000 }), / 4294967294\/100000 /);
  assert.match(shown({ modified: { seconds: -5, nanoseconds: 0 } }), / 1969-12-31T23:59:55Z /);
});

test('formatImageFile() writes every mode as ls does', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'thaw-listing-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'file');
  writeFileSync(path, '');
  const modes = Array.from(
    { length: 64 },
    (_, index) => (index >> 3) * 0o1000 + (index & 7) * 0o111,
  );
  for (const mode of modes) {
    chmodSync(path, mode);
    const [theirs] = execFileSync('ls', ['-l', path], { encoding: 'utf8' }).split(/[ .+]/);
    assert.equal(formatImageFile({ ...file, mode }).split(' ')[0], theirs, mode.toString(8));
  }
});

test('no name reaches the terminal raw', () => {
  const name = byteStringFromBytes(Buffer.from('\u001b]0;title\u0007\n\r\u009b1m\u202e'));
  const line = formatImageFile({ ...file, type: 'symlink', path: name, target: name });
  assert.doesNotMatch(line.slice(0, -1), /[\p{Cc}\p{Cf}]/u);
  assert.match(line, /\/\\033\]0;title\\007\\012\\015\\302\\2331m/);
});

test('imageFileJson() keeps every byte of a name, in base64 where it is no UTF-8', () => {
  const { inode, linkCount, type, uid, gid, sizeBytes } = file;
  assert.deepEqual(imageFileJson(file), {
    path: '/usr/bin/tool',
    type,
    uid,
    gid,
    sizeBytes,
    inode,
    linkCount,
    mode: '0755',
    modified: '2023-11-14T22:13:20.000012345Z',
  });
  const odd = byteStringFromBytes(Uint8Array.of(0x61, 0xff));
  const json = imageFileJson({ ...file, type: 'symlink', path: odd, target: byteString('é') });
  assert.deepEqual(json, {
    ...imageFileJson(file),
    type: 'symlink',
    path: '/a\uFFFD',
    pathBase64: Buffer.from([0x2f, 0x61, 0xff]).toString('base64'),
    target: 'é',
  });
});
