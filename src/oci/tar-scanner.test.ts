import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  type RandomAccess,
  byteString,
  byteStringFromBytes,
  randomAccessOf,
} from '../base/index.ts';
import {
  type HeaderFields,
  base256,
  buildTar,
  gnuLong,
  gnuMagic,
  padded,
  paxBlock,
  paxRecord,
  tarEntry,
  tarHeader,
} from '../../test/support/tar-builder.ts';
import { type TarEntry, type TarErrorCode, scanTar } from './index.ts';

async function scanAll(tar: RandomAccess): Promise<TarEntry[]> {
  const entries: TarEntry[] = [];
  for await (const entry of scanTar(tar)) entries.push(entry);
  return entries;
}

async function scan(...parts: readonly Uint8Array[]): Promise<TarEntry[]> {
  return await scanAll(randomAccessOf(Buffer.concat(parts)));
}

/** The only entry of an archive. */
async function scanOne(...parts: readonly Uint8Array[]): Promise<TarEntry> {
  const [entry, ...others] = await scan(...parts);
  assert.ok(entry !== undefined && others.length === 0);
  return entry;
}

async function rejects(code: TarErrorCode, ...parts: readonly Uint8Array[]): Promise<void> {
  await assert.rejects(scan(...parts), { name: 'TarFormatError', code });
}

const end = Buffer.alloc(1024);

test('an empty archive, of two blocks of zeros or one or nothing, has no entries', async () => {
  assert.deepEqual(await scan(), []);
  assert.deepEqual(await scan(Buffer.alloc(512)), []);
  assert.deepEqual(await scan(end), []);
  assert.deepEqual(await scan(Buffer.alloc(10_240)), []);
});

test('an entry has all that its header says', async () => {
  const entry = { path: 'a/b', mode: 0o104755, uid: 1, gid: 2, modified: 3, content: 'hello' };
  assert.deepEqual(await scan(buildTar([entry], { format: 'ustar' })), [
    {
      path: 'a/b',
      type: 'file',
      mode: 0o4755,
      uid: 1,
      gid: 2,
      modified: { seconds: 3, nanoseconds: 0 },
      linkTarget: '',
      sizeBytes: 5,
      segments: [{ fileOffset: 0, tarOffset: 512, lengthBytes: 5 }],
      deviceMajor: 0,
      deviceMinor: 0,
      xattrs: new Map(),
    },
  ]);
});

test('every type has its name, and only files have data', async () => {
  const data = ['0', '\0', '7'];
  const tar = [...data, '1', '2', '3', '4', '5', '6'].map((typeflag) => {
    const header = { name: 'n', typeflag, linkname: 'l', devmajor: 8, devminor: 9 };
    return data.includes(typeflag)
      ? Buffer.concat([tarHeader({ ...header, size: 7 }), Buffer.alloc(512)])
      : tarHeader({ ...header, size: 7 });
  });
  const entries = await scan(...tar);
  assert.deepEqual(
    entries.map(({ type, linkTarget, sizeBytes, deviceMajor, deviceMinor }) =>
      [type, linkTarget, sizeBytes, deviceMajor, deviceMinor].join(' '),
    ),
    [
      'file  7 0 0',
      'file  7 0 0',
      'file  7 0 0',
      'hardlink l 0 0 0',
      'symlink l 0 0 0',
      'character-device  0 8 9',
      'block-device  0 8 9',
      'directory  0 0 0',
      'fifo  0 0 0',
    ],
  );
});

test('in v7 a trailing slash makes a directory', async () => {
  const format = 'v7';
  const entries = await scan(buildTar([{ path: 'd/' }, { path: 'f' }], { format }));
  assert.deepEqual(
    entries.map(({ path, type }) => [path, type]),
    [
      ['d/', 'directory'],
      ['f', 'file'],
    ],
  );
});

test('types that no image has are refused', async () => {
  for (const typeflag of ['V', 'M', 'D', 'N', 'Z', '\x7f']) {
    await rejects('ERR_OCI_TAR_TYPE', tarHeader({ name: 'n', typeflag }));
  }
});

test('numbers may stand between spaces and NULs, or be missing', async () => {
  const text = (value: string): Buffer => Buffer.from(value, 'latin1');
  const entry = await scanOne(
    tarHeader({
      name: 'n',
      mode: text('  755 \0'),
      uid: text('12 '),
      gid: text(''),
      mtime: text('7\0junk'),
    }),
  );
  assert.deepEqual([entry.mode, entry.uid, entry.gid], [0o755, 0o12, 0]);
  assert.equal(entry.modified.seconds, 7);
});

test('base-256 numbers hold what octal cannot', async () => {
  const entry = await scanOne(
    tarHeader({
      name: 'n',
      magic: gnuMagic,
      uid: base256(4_294_967_294, 8),
      gid: base256(2_097_152, 8),
      mtime: base256(-86_400, 12),
    }),
  );
  assert.deepEqual([entry.uid, entry.gid], [4_294_967_294, 2_097_152]);
  assert.deepEqual(entry.modified, { seconds: -86_400, nanoseconds: 0 });
});

test('fields that make no sense are refused, with the entry and its offset', async () => {
  const bad: HeaderFields[] = [
    { size: Buffer.from('12x') },
    { size: base256(-1, 12) },
    { size: base256(2n ** 70n, 12) },
    { mode: Buffer.from('9') },
    { mode: base256(-1, 8) },
    { uid: base256(-1, 8) },
    { uid: base256(2 ** 32 - 1, 8) },
    { gid: base256(2 ** 32, 8) },
    { mtime: Buffer.from('-1') },
    { typeflag: '3', devmajor: Buffer.from('?') },
    { typeflag: '4', devminor: base256(-1, 8) },
  ];
  for (const fields of bad) {
    const tar = [
      tarEntry({ path: 'ok', content: 'x' }),
      tarHeader({ ...fields, name: 'bad' }),
      end,
    ];
    await assert.rejects(scan(...tar), {
      code: 'ERR_OCI_TAR_HEADER',
      offset: 1024,
      message: /^Cannot read tar entry "bad" at byte 1024: its .*damaged/,
    });
  }
});

test('what is no number in a field that the type does not use is not looked at', async () => {
  const entry = await scanOne(tarHeader({ name: 'n', devmajor: Buffer.from('garbage') }));
  assert.equal(entry.deviceMajor, 0);
});

test('a checksum may be of signed bytes, and must be right', async () => {
  const name = Buffer.from('\xff\xfe', 'latin1');
  const good = tarHeader({ name });
  const unsigned = Number.parseInt(good.toString('latin1', 148, 154), 8);
  const signed = Buffer.from(`${(unsigned - 512).toString(8).padStart(6, '0')}\0 `);
  assert.equal((await scanOne(tarHeader({ name, chksum: signed }))).path, '\xff\xfe');
  const wrong = Buffer.from(`${(unsigned + 1).toString(8).padStart(6, '0')}\0 `);
  await rejects('ERR_OCI_TAR_CHECKSUM', tarHeader({ name, chksum: wrong }));
  await rejects('ERR_OCI_TAR_CHECKSUM', Buffer.alloc(512, 'garbage'));
});

test('ustar joins prefix and name; star has a shorter prefix', async () => {
  const long = `${'p'.repeat(120)}/${'n'.repeat(80)}`;
  assert.equal((await scanOne(buildTar([{ path: long }], { format: 'ustar' }))).path, long);
  const rest = Buffer.alloc(167);
  rest.write('pre', 0);
  rest.write('00000000017 00000000017 ', 131);
  rest.write('tar', 163);
  assert.equal((await scanOne(tarHeader({ name: 'n', rest }))).path, 'pre/n');
});

test("in GNU's header no prefix but times follow, unless Go before 1.8 wrote it", async () => {
  const times = Buffer.from('00000000017\x0000000000017\0');
  const gnu = tarHeader({ name: 'n', magic: gnuMagic, rest: times });
  assert.equal((await scanOne(gnu)).path, 'n');
  const old = tarHeader({ name: 'n', magic: gnuMagic, rest: 'some/prefix/of/old/docker' });
  assert.equal((await scanOne(old)).path, 'some/prefix/of/old/docker/n');
});

test('long GNU names and link targets replace the short ones', async () => {
  const path = 'directory/'.repeat(50);
  const linkTarget = 'target/'.repeat(40);
  const entry = { path, type: 'symlink', linkTarget } as const;
  const scanned = await scanOne(buildTar([entry], { format: 'gnu' }));
  assert.deepEqual([scanned.path, scanned.linkTarget], [path, linkTarget]);
});

test('names are byte strings in whatever encoding', async () => {
  const path = Buffer.from('61ff80c3a9', 'hex');
  for (const format of ['v7', 'ustar', 'gnu', 'pax'] as const) {
    const { path: scanned } = await scanOne(buildTar([{ path }], { format }));
    assert.equal(scanned, byteStringFromBytes(path));
  }
});

test('pax records replace what the header says', async () => {
  const records = {
    comment: 'left alone',
    path: `${'x'.repeat(300)}/é`,
    size: '3',
    uid: '3000000000',
    gid: '4000000',
    mtime: '1700000000.987654321987',
    uname: 'nobody',
  };
  const entry = await scanOne(
    paxBlock(records),
    tarHeader({ name: 'short' }),
    padded(Buffer.from('abc')),
  );
  assert.equal(entry.path, byteString(records.path));
  assert.deepEqual([entry.sizeBytes, entry.uid, entry.gid], [3, 3_000_000_000, 4_000_000]);
  assert.deepEqual(entry.modified, { seconds: 1_700_000_000, nanoseconds: 987_654_321 });
});

test('pax times may be negative and have any number of decimals', async () => {
  const cases = [
    ['0', 0, 0],
    ['1.', 1, 0],
    ['1.5', 1, 500_000_000],
    ['-1', -1, 0],
    ['-1.25', -2, 750_000_000],
    ['-0.000000001', -1, 999_999_999],
    ['-0.0', 0, 0],
    ['+7.0000000019', 7, 1],
  ] as const;
  for (const [mtime, seconds, nanoseconds] of cases) {
    const { modified } = await scanOne(paxBlock({ mtime }), tarHeader({ name: 'n' }));
    assert.deepEqual(modified, { seconds, nanoseconds }, mtime);
  }
  for (const mtime of ['x', '1.2.3', '-', '1e3', '.5', '99999999999999999999']) {
    await rejects('ERR_OCI_TAR_HEADER', paxBlock({ mtime }), tarHeader({ name: 'n' }));
  }
});

test('an empty pax value leaves the header as it is', async () => {
  const records = { path: '', size: '', mtime: '', linkpath: '' };
  const entry = await scanOne(paxBlock(records), tarHeader({ name: 'n', mtime: 5 }));
  assert.deepEqual([entry.path, entry.modified.seconds], ['n', 5]);
});

test('extended attributes keep raw values, empty ones too, in byte order of names', async () => {
  const value = Buffer.from('0100000200200000000000000000000000000000', 'hex');
  const entry = await scanOne(
    paxBlock({
      'SCHILY.xattr.user.z': 'line\nbreak=',
      'SCHILY.xattr.user.empty': '',
      'SCHILY.xattr.security.capability': value,
      'LIBARCHIVE.xattr.user.with%20space%25': 'AAH/',
      'LIBARCHIVE.xattr.user.z': 'AAAA',
    }),
    tarHeader({ name: 'n' }),
  );
  assert.deepEqual(
    [...entry.xattrs].map(([name, bytes]) => [name, Buffer.from(bytes).toString('latin1')]),
    [
      ['security.capability', value.toString('latin1')],
      ['user.empty', ''],
      ['user.with space%', '\0\x01\xff'],
      ['user.z', 'line\nbreak='],
    ],
  );
});

test('pax global headers change nothing, as with Go, but must be well-formed', async () => {
  const global = paxBlock({ comment: 'of git archive', mtime: '5', path: 'x' }, 'g');
  const entries = await scan(global, buildTar([{ path: 'a', modified: 1 }, { path: 'b' }]));
  assert.deepEqual(
    entries.map(({ path }) => path),
    ['a', 'b'],
  );
  assert.equal(entries[0]?.modified.seconds, 1);
  const broken = padded(Buffer.from('7 a=b'));
  await rejects('ERR_OCI_TAR_PAX', tarHeader({ typeflag: 'g', size: 5 }), broken, end);
});

test('an extended header is for the next entry only, and the last of its kind counts', async () => {
  const entries = await scan(
    paxBlock({ path: 'first', uid: '7' }),
    paxBlock({ path: 'second' }),
    buildTar([{ path: 'x' }, { path: 'y' }]),
  );
  assert.deepEqual(
    entries.map(({ path, uid }) => [path, uid]),
    [
      ['second', 0],
      ['y', 0],
    ],
  );
  const long = await scanOne(gnuLong('L', 'gnu wins'), paxBlock({ path: 'pax' }), tarHeader({}));
  assert.equal(long.path, 'gnu wins');
});

test('malformed pax records are refused', async () => {
  const malformed = [
    'x=y\n',
    '5 a=\n\n',
    '6 a=b',
    '99 a=b\n',
    '-6 a=b\n',
    '4 =\n',
    '5 ab\n',
    '0 a=b\n',
    '6a=b \n',
    '3 \n',
    ' 6 a=b\n',
    '00000000000000000006 a=b\n',
    '8 pa\0=b\n',
    '12 path=a\0b\n',
    '\0\0\0\0',
  ];
  for (const text of malformed) {
    const data = Buffer.from(text, 'latin1');
    const header = tarHeader({ name: 'p', typeflag: 'x', size: data.byteLength });
    await rejects('ERR_OCI_TAR_PAX', header, padded(data), tarHeader({ name: 'n' }), end);
  }
});

test('extended headers of more than 1 MiB are refused unread', async () => {
  for (const typeflag of ['x', 'g', 'L', 'K']) {
    const header = tarHeader({ typeflag, size: 2 ** 20 + 1 });
    await rejects('ERR_OCI_TAR_PAX', header);
  }
  const value = 'v'.repeat(2 ** 20 - 100);
  const entry = await scanOne(paxBlock({ comment: value, path: 'p' }), tarHeader({ name: 'n' }));
  assert.equal(entry.path, 'p');
});

test('bad numbers in pax records are refused', async () => {
  const bad = [
    { size: '-1' },
    { size: 'x' },
    { uid: '-1' },
    { gid: '4294967296' },
    { size: '1e3' },
  ];
  for (const records of bad) {
    await rejects('ERR_OCI_TAR_HEADER', paxBlock(records), tarHeader({ name: 'n' }), end);
  }
});

test('an archive that ends inside an entry is refused', async () => {
  const content = 'x'.repeat(1000);
  const whole = tarEntry({ path: 'a', content, xattrs: { 'user.a': 'b' } });
  const lengths = [1, 511, 512, 513, 600, 1023, 1024, 1025, 1535, 1536, 1537, 2000, 2535];
  for (const length of lengths) {
    await rejects('ERR_OCI_TAR_TRUNCATED', whole.subarray(0, length));
  }
  // Only the padding is missing: some writers leave it out at the end.
  assert.equal((await scan(whole.subarray(0, 2536))).length, 1);
  await rejects('ERR_OCI_TAR_TRUNCATED', paxBlock({ path: 'a' }), end);
  await rejects('ERR_OCI_TAR_TRUNCATED', gnuLong('L', 'a'));
});

test('sizes past the end of the archive, or past 16 TiB, are refused', async () => {
  await rejects('ERR_OCI_TAR_TRUNCATED', tarHeader({ name: 'n', size: 1025 }), end);
  await rejects('ERR_OCI_TAR_SIZE', tarHeader({ name: 'n', size: base256(2 ** 44 + 1, 12) }), end);
  await rejects('ERR_OCI_TAR_SIZE', paxBlock({ size: '9007199254740991' }), tarHeader({}), end);
});

test('what follows two blocks of zeros is not looked at; one block of zeros amid the rest is an error', async () => {
  const first = tarEntry({ path: 'a' });
  assert.equal((await scan(first, end, tarEntry({ path: 'b' }), Buffer.from('garbage'))).length, 1);
  await rejects('ERR_OCI_TAR_HEADER', first, Buffer.alloc(512), tarEntry({ path: 'b' }), end);
});

test('only headers are read, many at a time', async () => {
  const small = Array.from({ length: 1000 }, (_, index) => ({ path: `f${index}`, content: 'x' }));
  const big = { path: 'big', content: Buffer.alloc(8_000_000, 1) };
  const tar = randomAccessOf(buildTar([...small, big, { path: 'last' }]));
  const reads: number[] = [];
  const counted: RandomAccess = {
    sizeBytes: tar.sizeBytes,
    read: async (offset, target) => {
      reads.push(target.byteLength);
      await tar.read(offset, target);
    },
  };
  assert.equal((await scanAll(counted)).length, 1002);
  assert.ok(reads.length < 20, `${reads.length} reads`);
  assert.ok(reads.every((length) => length <= 65_536));
});

test('a failing read is passed on as it is', async () => {
  const failure = new Error('the disk is gone');
  const tar: RandomAccess = { sizeBytes: 1024, read: () => Promise.reject(failure) };
  await assert.rejects(scanAll(tar), failure);
});

test('the record length counts its own digits', () => {
  assert.equal(paxRecord('a', 'b').toString(), '6 a=b\n');
  assert.equal(paxRecord('path', 'x'.repeat(90)).toString().slice(0, 4), '99 p');
  assert.equal(paxRecord('path', 'x'.repeat(91)).toString().slice(0, 4), '101 ');
});
