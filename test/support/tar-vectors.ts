/**
 * Archives of every kind of header that Go's archive/tar is tested with, written anew: what unpackers of images, which are
 * written in Go, have to agree on. Each keeps to a directory of its own, so that they make layers of one image.
 */

import {
  base256,
  gnuLong,
  gnuMagic,
  padded,
  paxBlock,
  paxRecord,
  tarHeader,
} from './tar-builder.ts';

const end = Buffer.alloc(1024);
const file = (
  name: string,
  content = 'content',
  more: Parameters<typeof tarHeader>[0] = {},
): Buffer =>
  Buffer.concat([
    tarHeader({ name, size: Buffer.byteLength(content), mtime: 1_000_000_000, ...more }),
    padded(Buffer.from(content)),
  ]);
const directory = (name: string): Buffer =>
  tarHeader({ name: `${name}/`, typeflag: '5', mode: 0o755, mtime: 1_111_111_111 });
const octal = (value: number): Buffer => Buffer.from(`${value.toString(8).padStart(11, '0')}\0`);

/** A sparse file in pax's format 1.0: its map stands in front of its data. */
function sparse10(name: string, map: string, content: string, sizeBytes: number): Buffer {
  const records = {
    'GNU.sparse.major': '1',
    'GNU.sparse.minor': '0',
    'GNU.sparse.name': name,
    'GNU.sparse.realsize': String(sizeBytes),
  };
  const body = Buffer.concat([padded(Buffer.from(map)), Buffer.from(content)]);
  const header = tarHeader({ name: 'GNUSparseFile.0/s', size: body.byteLength, mtime: 5 });
  return Buffer.concat([paxBlock(records), header, padded(body)]);
}

/** In pax's format 0.0, whose keywords come several times. */
function sparse00(name: string): Buffer {
  const records = Buffer.concat([
    paxRecord('GNU.sparse.size', '20000'),
    paxRecord('GNU.sparse.numblocks', '2'),
    ...['0', '4', '10000', '3'].map((number, index) =>
      paxRecord(`GNU.sparse.${index % 2 === 0 ? 'offset' : 'numbytes'}`, number),
    ),
  ]);
  const header = tarHeader({ name: 'PaxHeaders/0', typeflag: 'x', size: records.byteLength });
  return Buffer.concat([header, padded(records), file(name, 'abcdefg')]);
}

/** star's header: a shorter prefix, then times, and its name at the end. */
function starRest(prefix: string): Buffer {
  const rest = Buffer.alloc(167);
  rest.write(prefix);
  octal(1_000_000_000).copy(rest, 131);
  octal(1_000_000_000).copy(rest, 143);
  rest.write('tar\0', 163);
  return rest;
}

const globalOf = (records: Record<string, string>): Buffer => paxBlock(records, 'g');

/** What every reader takes. By name, without the two blocks at the end. */
const taken: Readonly<Record<string, (top: string) => readonly Buffer[]>> = {
  v7: (top) => [
    tarHeader({ name: `${top}/by-slash/`, typeflag: '\0', magic: '', mode: 0o750, mtime: 7 }),
    file(`${top}/file`, 'x', { typeflag: '\0', magic: '' }),
    tarHeader({ name: `${top}/link`, typeflag: '1', linkname: `${top}/file`, magic: '', mtime: 8 }),
    tarHeader({ name: `${top}/symlink`, typeflag: '2', linkname: 'file', magic: '', mtime: 9 }),
  ],
  ustar: (top) => [
    tarHeader({ name: 'file', rest: top, mtime: 3, mode: 0o4711, uid: 12, gid: 34 }),
    tarHeader({ name: `${top}/null`, typeflag: '3', devmajor: 1, devminor: 3, mtime: 1 }),
    tarHeader({ name: `${top}/disk`, typeflag: '4', devmajor: 259, devminor: 70_000, mtime: 1 }),
    tarHeader({ name: `${top}/pipe`, typeflag: '6', devmajor: 5, devminor: 6, mtime: 1 }),
  ],
  star: (top) => [file('file', 'star', { rest: starRest(top) })],
  'mode with the bits of its type': (top) => [
    file(`${top}/file`, '', { mode: 0o100644 }),
    file(`${top}/set-id`, '', { mode: 0o106755 }),
  ],
  'numbers in spaces': (top) => [
    file(`${top}/file`, 'abc', {
      size: Buffer.from('         3 \0'),
      uid: Buffer.from('   17 \0'),
    }),
  ],
  'owners that are not there': (top) => [
    file(`${top}/file`, 'abc', { uid: Buffer.alloc(8), gid: Buffer.alloc(8) }),
  ],
  'GNU long names': (top) => [
    gnuLong('L', `${top}/${'n'.repeat(200)}`),
    file(`${top}/${'n'.repeat(80)}`, 'long', { magic: gnuMagic }),
    gnuLong('K', `${'../'.repeat(60)}target`),
    tarHeader({
      name: `${top}/symlink`,
      typeflag: '2',
      linkname: 'cut',
      magic: gnuMagic,
      mtime: 4,
    }),
  ],
  'GNU long names, the last of which counts': (top) => [
    gnuLong('L', `${top}/first`),
    gnuLong('K', 'first-target'),
    gnuLong('L', `${top}/second`),
    gnuLong('K', 'second-target'),
    tarHeader({ name: 'x', typeflag: '2', linkname: 'y', magic: gnuMagic, mtime: 4 }),
  ],
  'GNU long names that go on behind a NUL': (top) => [
    gnuLong('L', `${top}/name\0and what is not read`),
    file('x', 'x', { magic: gnuMagic }),
  ],
  'GNU numbers in base-256': (top) => [
    file(`${top}/file`, 'big', {
      magic: gnuMagic,
      uid: base256(4_000_000_000, 8),
      gid: base256(3_000_000_000, 8),
      size: base256(3, 12),
      mtime: base256(5_000_000_000, 12),
    }),
  ],
  'GNU names that are no UTF-8': (top) => [
    file(`${top}/`, '', {
      name: Buffer.concat([Buffer.from(`${top}/`), Buffer.from([0x68, 0x9f, 0xff, 0x80])]),
      magic: gnuMagic,
    }),
  ],
  'GNU times of access and change where the prefix would be': (top) => [
    file(`${top}/file`, 'x', {
      magic: gnuMagic,
      rest: Buffer.concat([octal(1_000_000_000), octal(1_000_000_001)]),
    }),
  ],
  'pax paths, targets, owners and times': (top) => [
    paxBlock({
      path: `${top}/${'ü'.repeat(100)}`,
      uid: '4000000000',
      gid: '3000000000',
      mtime: '1350244992.023960108',
      atime: '1350244992.023960108',
      comment: 'nobody reads this',
    }),
    file('cut', 'pax'),
    paxBlock({ linkpath: 't'.repeat(300), mtime: '5.5' }),
    tarHeader({ name: `${top}/symlink`, typeflag: '2', linkname: 'cut' }),
  ],
  'pax sizes with a sign and zeros in front': (top) => [
    paxBlock({
      size: '+00000000000000000000000000005',
      mtime: '0000000000000000000000000000007.25',
    }),
    tarHeader({ name: `${top}/file`, size: 0 }),
    padded(Buffer.from('12345')),
  ],
  'pax headers one after the other, the last of which counts': (top) => [
    paxBlock({ path: `${top}/first`, uid: '5' }),
    paxBlock({ path: `${top}/second` }),
    file('x', 'x', { uid: 3 }),
  ],
  'pax headers of the whole archive': (top) => [
    globalOf({ path: `${top}/global`, mtime: '5', uid: '9' }),
    file(`${top}/own`, 'x'),
  ],
  'pax attributes': (top) => [
    paxBlock({
      'SCHILY.xattr.user.key': 'value',
      'SCHILY.xattr.user.binary': Buffer.from([0xff, 0, 0x0a, 0x3d, 0x80]),
      'SCHILY.xattr.user.equals==': 'a=b',
      'SCHILY.xattr.security.capability': Buffer.from(
        '0100000200040000000000000000000000000000',
        'hex',
      ),
    }),
    file(`${top}/file`, 'x'),
  ],
  'pax sparse files in format 0.0, 0.1 and 1.0': (top) => [
    sparse00(`${top}/0.0`),
    paxBlock({
      'GNU.sparse.size': '20000',
      'GNU.sparse.numblocks': '2',
      'GNU.sparse.map': '4096,4,10000,3',
      'GNU.sparse.name': `${top}/0.1`,
    }),
    file('x', 'abcdefg'),
    sparse10(`${top}/1.0`, '3\n5000\n2\n9000\n3\n20000\n0\n', 'abcde', 20_000),
  ],
  'pax sparse files of nothing but a hole, or without one': (top) => [
    sparse10(`${top}/hole`, '1\n1000\n0\n', '', 1000),
    sparse10(`${top}/data`, '1\n0\n1000\n', 'd'.repeat(1000), 1000),
  ],
  'entries without data that say they had some': (top) => [
    file(`${top}/file`, 'x'),
    tarHeader({ name: `${top}/dir/`, typeflag: '5', size: 5, mode: 0o700, mtime: 5 }),
    tarHeader({ name: `${top}/link`, typeflag: '1', size: 5, linkname: `${top}/file`, mtime: 5 }),
    tarHeader({ name: `${top}/symlink`, typeflag: '2', size: 5, linkname: 'x', mtime: 5 }),
    tarHeader({ name: `${top}/pipe`, typeflag: '6', size: 5, mtime: 5 }),
    file(`${top}/after`, 'y'),
  ],
  'names that end in a slash': (top) => [
    tarHeader({ name: `${top}/old/`, typeflag: '\0', mode: 0o711, mtime: 6 }),
    tarHeader({ name: `${top}/new/`, typeflag: '0', mode: 0o711, mtime: 6 }),
    paxBlock({ path: `${top}/pax/` }),
    tarHeader({ name: 'x', typeflag: '\0', mode: 0o711, mtime: 6 }),
  ],
  'times before 1970, and after 2262': (top) => [
    paxBlock({ mtime: '-1.25' }),
    file(`${top}/before`, 'x'),
    file(`${top}/gnu-before`, 'x', { magic: gnuMagic, mtime: base256(-1_000_000, 12) }),
    paxBlock({ mtime: '9223372037' }),
    file(`${top}/after`, 'x'),
    paxBlock({ mtime: '9223372035.999999999' }),
    file(`${top}/just-before`, 'x'),
  ],
};

/** What every reader refuses. */
const refused: Readonly<Record<string, readonly Buffer[]>> = {
  'a size that is no number': [file('f', 'x', { size: Buffer.from('1x\0') })],
  'a negative size': [file('f', '', { magic: gnuMagic, size: base256(-1, 12) })],
  'a wrong checksum': [file('f', 'x', { chksum: Buffer.from('0000001\0') })],
  'pax records of a wrong length': [
    tarHeader({ name: 'p', typeflag: 'x', size: 9 }),
    padded(Buffer.from('99 a=b\nxx')),
    file('f', 'x'),
  ],
  'a pax record without a value': [
    tarHeader({ name: 'p', typeflag: 'x', size: 6 }),
    padded(Buffer.from('6 abc\n')),
    file('f', 'x'),
  ],
  'a pax time that is none': [paxBlock({ mtime: '1.2.3' }), file('f', 'x')],
  'a pax owner that is none': [paxBlock({ uid: 'root' }), file('f', 'x')],
  'a NUL in a pax path': [paxBlock({ path: 'a\0b' }), file('f', 'x')],
  'a NUL in the name of a pax attribute': [paxBlock({ 'SCHILY.xattr.user.a\0b': 'x' }), file('f')],
  'a pax map of sparse runs that overlap': [sparse10('s', '2\n0\n5\n3\n5\n', '0123456789', 100)],
  'an archive cut in the data': [tarHeader({ name: 'f', size: 5000 }), Buffer.alloc(512)],
  'an archive cut in a header': [file('f', 'x').subarray(0, 300)],
  'a directory of an incremental archive': [
    tarHeader({ name: 'd/', typeflag: 'D', magic: gnuMagic, size: 5 }),
    padded(Buffer.from('Yf\0\0\0')),
  ],
  'the name of a volume': [tarHeader({ name: 'label', typeflag: 'V', magic: gnuMagic })],
};

export interface TarVector {
  readonly name: string;
  readonly tar: Buffer;
}

/** Archives that must be taken, and be taken for the same. */
export const takenTars: readonly TarVector[] = Object.entries(taken).map(([name, write], index) => {
  const top = `v${index}`;
  return { name, tar: Buffer.concat([directory(top), ...write(top), end]) };
});

/** Archives that must be refused. */
export const refusedTars: readonly TarVector[] = Object.entries(refused).map(([name, parts]) => {
  return { name, tar: Buffer.concat([...parts, end]) };
});
