import assert from 'node:assert/strict';
import { test } from 'node:test';

import { formatBytes, formatMs, formatTable, withoutControls } from './format.ts';
import { absoluteSource, isImageSource } from './source.ts';

test('formatBytes() picks the unit in which the number is short', () => {
  assert.deepEqual([0, 1023, 1024, 1536, 2 ** 30, 2 ** 50].map(formatBytes), [
    '0 B',
    '1023 B',
    '1.0 KiB',
    '1.5 KiB',
    '1.0 GiB',
    '1024.0 TiB',
  ]);
});

test('formatMs() shows what matters at each scale', () => {
  assert.deepEqual([0.25, 9.96, 12.3, 999, 1000, 61_234].map(formatMs), [
    '0.3 ms',
    '10.0 ms',
    '12 ms',
    '999 ms',
    '1.00 s',
    '61.23 s',
  ]);
});

test('formatTable() aligns columns and leaves no trailing blanks', () => {
  assert.equal(
    formatTable(
      ['ID', 'NAME'],
      [
        ['1', 'a'],
        ['22', ''],
      ],
    ),
    'ID  NAME\n1   a\n22\n',
  );
});

test('absoluteSource() makes paths absolute and leaves registries alone', () => {
  assert.equal(absoluteSource('oci:images/x:tag', '/home/me'), 'oci:/home/me/images/x:tag');
  assert.equal(
    absoluteSource('oci-archive:/abs/file.tar', '/home/me'),
    'oci-archive:/abs/file.tar',
  );
  assert.equal(absoluteSource('docker-archive:../f.tar', '/home/me'), 'docker-archive:/home/f.tar');
  assert.equal(absoluteSource('docker://localhost/x', '/home/me'), 'docker://localhost/x');
});

test('isImageSource() tells sources from ids and names', () => {
  assert.deepEqual(['oci:x', 'docker://h/n', 'docker-archive:f'].map(isImageSource), [
    true,
    true,
    true,
  ]);
  assert.deepEqual(['a1b2c3d4', 'my:name', 'ocidir'].map(isImageSource), [false, false, false]);
});

test('withoutControls() leaves nothing by which a name could steer a terminal', () => {
  assert.equal(withoutControls('é\n\u001b[2J\u009b1m\u202e'), 'é\n\\u{1b}[2J\\u{9b}1m\\u{202e}');
});
