import assert from 'node:assert/strict';
import { test } from 'node:test';

import { randomAccessOf } from '../base/index.ts';
import {
  base256,
  gnuMagic,
  padded,
  paxBlock,
  paxRecord,
  tarEntry,
  tarHeader,
} from '../../test/support/tar-builder.ts';
import { type DataSegment, type TarEntry, type TarErrorCode, scanTar } from './index.ts';

type Run = readonly [offset: number, lengthBytes: number];

interface SparseFile {
  readonly runs: readonly Run[];
  readonly sizeBytes: number;
  /** Default: as much as the runs have. */
  readonly dataBytes?: number;
}

/** Writes the file in one of GNU tar's formats. */
type Format = (file: SparseFile) => Buffer;

const dataBytesOf = ({ runs, dataBytes }: SparseFile): number =>
  dataBytes ?? runs.reduce((sum, [, length]) => sum + length, 0);
const dataOf = (file: SparseFile): Buffer => padded(Buffer.alloc(dataBytesOf(file), 'd'));

const oldGnu: Format = (file) => {
  const sp = file.runs.map(([offset, length]) => Buffer.concat([octal(offset), octal(length)]));
  const rest = Buffer.alloc(167);
  Buffer.concat(sp.slice(0, 4)).copy(rest, 41);
  rest[137] = sp.length > 4 ? 1 : 0;
  octal(file.sizeBytes).copy(rest, 138);
  const header = { name: 's', typeflag: 'S', magic: gnuMagic, size: dataBytesOf(file), rest };
  const extensions: Buffer[] = [];
  for (let at = 4; at < sp.length; at += 21) {
    const extension = Buffer.alloc(512);
    Buffer.concat(sp.slice(at, at + 21)).copy(extension);
    extension[504] = sp.length > at + 21 ? 1 : 0;
    extensions.push(extension);
  }
  return Buffer.concat([tarHeader(header), ...extensions, dataOf(file)]);
};

function octal(value: number): Buffer {
  return value < 0 ? base256(value, 12) : Buffer.from(`${value.toString(8).padStart(11, '0')}\0`);
}

const pax00: Format = (file) => {
  const records = Buffer.concat([
    paxRecord('GNU.sparse.size', String(file.sizeBytes)),
    paxRecord('GNU.sparse.numblocks', String(file.runs.length)),
    ...file.runs.flatMap(([offset, length]) => [
      paxRecord('GNU.sparse.offset', String(offset)),
      paxRecord('GNU.sparse.numbytes', String(length)),
    ]),
  ]);
  const header = tarHeader({ typeflag: 'x', size: records.byteLength });
  return Buffer.concat([header, padded(records), plainHeader(file), dataOf(file)]);
};

const pax01: Format = (file) => {
  const map = file.runs.flat().join(',');
  const records = { 'GNU.sparse.size': String(file.sizeBytes), 'GNU.sparse.map': map };
  const header = paxBlock({ ...records, 'GNU.sparse.name': 's' });
  return Buffer.concat([header, plainHeader(file), dataOf(file)]);
};

const pax10: Format = (file) => {
  const map = padded(Buffer.from([file.runs.length, ...file.runs.flat(), ''].join('\n')));
  return pax10With(map, file);
};

function pax10With(map: Buffer, file: SparseFile): Buffer {
  const records = {
    'GNU.sparse.major': '1',
    'GNU.sparse.minor': '0',
    'GNU.sparse.name': 's',
    'GNU.sparse.realsize': String(file.sizeBytes),
  };
  const size = map.byteLength + dataBytesOf(file);
  const header = tarHeader({ name: './GNUSparseFile.0/s', size });
  return Buffer.concat([paxBlock(records), header, map, dataOf(file)]);
}

function plainHeader(file: SparseFile): Buffer {
  return tarHeader({ name: 's', size: dataBytesOf(file) });
}

async function scan(tar: Buffer): Promise<TarEntry[]> {
  const entries: TarEntry[] = [];
  for await (const entry of scanTar(randomAccessOf(tar))) entries.push(entry);
  return entries;
}

async function rejects(code: TarErrorCode, tar: Buffer): Promise<void> {
  await assert.rejects(scan(tar), { code });
}

const runs: readonly Run[] = Array.from({ length: 60 }, (_, index) => [index * 4096, 512] as const);
const next = tarEntry({ path: 'next' });

for (const [name, format] of Object.entries({ oldGnu, pax00, pax01, pax10 })) {
  test(`${name}: a sparse file's runs lie one after the other behind its map`, async () => {
    // GNU tar never writes a map without a run: one of no bytes marks the end.
    for (const count of [1, 4, 5, 25, 26, 60]) {
      const file = { runs: runs.slice(0, count), sizeBytes: 1_000_000 };
      const tar = Buffer.concat([format(file), next]);
      const [entry, after] = await scan(tar);
      assert.ok(entry?.type === 'file' && after?.path === 'next', `${count} runs`);
      assert.deepEqual([entry.path, entry.sizeBytes], ['s', 1_000_000]);
      const dataOffset = tar.byteLength - next.byteLength - count * 512;
      const expected = file.runs.map(([fileOffset], index): DataSegment => {
        return { fileOffset, tarOffset: dataOffset + index * 512, lengthBytes: 512 };
      });
      assert.deepEqual(entry.segments, expected);
    }
  });

  test(`${name}: the last run may end anywhere, runs of no bytes are left out`, async () => {
    const [entry] = await scan(
      format({
        runs: [
          [0, 0],
          [5, 3],
          [10, 0],
        ],
        sizeBytes: 10,
      }),
    );
    assert.deepEqual(
      entry?.segments.map(({ fileOffset, lengthBytes }) => [fileOffset, lengthBytes]),
      [[5, 3]],
    );
  });

  test(`${name}: maps that make no sense are refused`, async () => {
    const bad: Readonly<Record<string, SparseFile>> = {
      'runs out of order': {
        runs: [
          [4096, 512],
          [0, 512],
        ],
        sizeBytes: 8192,
      },
      'runs that overlap': {
        runs: [
          [0, 512],
          [511, 512],
        ],
        sizeBytes: 8192,
      },
      'a run past the end': { runs: [[0, 512]], sizeBytes: 511 },
      'a run that ends past 2^53': {
        runs: [[2 ** 33 - 1, 2 ** 33 - 1]],
        sizeBytes: 1,
        dataBytes: 0,
      },
      'a negative length': { runs: [[0, -1]], sizeBytes: 10, dataBytes: 0 },
      'a negative offset': { runs: [[-1, 1]], sizeBytes: 10 },
      'more data than runs': { runs: [[0, 512]], sizeBytes: 8192, dataBytes: 1024 },
      'less data than runs': { runs: [[0, 512]], sizeBytes: 8192, dataBytes: 100 },
    };
    for (const [what, file] of Object.entries(bad)) {
      await assert.rejects(scan(format(file)), { code: 'ERR_OCI_TAR_SPARSE' }, what);
    }
  });

  test(`${name}: a file of more than 16 TiB, or cut short, is refused`, async () => {
    const runs: readonly Run[] = [[0, 512]];
    if (format !== oldGnu)
      await rejects('ERR_OCI_TAR_SIZE', format({ runs, sizeBytes: 2 ** 44 + 1 }));
    const whole = format({ runs, sizeBytes: 8192 });
    await rejects('ERR_OCI_TAR_TRUNCATED', whole.subarray(0, whole.byteLength - 512));
  });
}

test('an old GNU map that goes on past the end of the archive is refused', async () => {
  const tar = oldGnu({ runs, sizeBytes: 1_000_000 });
  await rejects('ERR_OCI_TAR_TRUNCATED', tar.subarray(0, 1024));
});

test('an old GNU sparse file needs a header of GNU tar', async () => {
  await rejects('ERR_OCI_TAR_SPARSE', tarHeader({ name: 's', typeflag: 'S' }));
});

test('a map with more runs than memory should hold is refused', async () => {
  const file = { runs: [], sizeBytes: 1 };
  await rejects('ERR_OCI_TAR_SPARSE', pax10With(padded(Buffer.from('131073\n')), file));
  const full = Buffer.alloc(512, Buffer.concat([octal(0), octal(0)]));
  full[504] = 1;
  const rest = Buffer.alloc(167);
  rest[137] = 1;
  octal(10).copy(rest, 138);
  const header = tarHeader({ name: 's', typeflag: 'S', magic: gnuMagic, rest });
  const endless = Buffer.concat([header, Buffer.alloc(512 * 6500, full)]);
  await assert.rejects(scan(endless), { code: 'ERR_OCI_TAR_SPARSE', message: /too many runs/ });
});

test('format 1.0: a malformed map is refused', async () => {
  const file = { runs: [], sizeBytes: 10 };
  for (const text of [
    '',
    'x\n',
    '1\n',
    '1\n0\n',
    '-1\n',
    '1\n0\n5',
    ' 1\n0\n0\n',
    '9'.repeat(600),
  ]) {
    const map = padded(Buffer.from(text.padEnd(1, '\n')));
    await assert.rejects(scan(pax10With(map, file)), { code: /SPARSE|TRUNCATED/ }, text);
  }
});

test('a pax sparse format that is not known is refused', async () => {
  const records = { 'GNU.sparse.major': '2', 'GNU.sparse.minor': '0' };
  await rejects('ERR_OCI_TAR_SPARSE', Buffer.concat([paxBlock(records), tarHeader({})]));
});

test('formats 0.0 and 0.1: a malformed map is refused', async () => {
  const bad = ['1', '1,2,3', 'x,1', ',', '1,,2', '1,2,'];
  for (const map of bad) {
    const records = { 'GNU.sparse.map': map, 'GNU.sparse.size': '10' };
    await rejects('ERR_OCI_TAR_SPARSE', Buffer.concat([paxBlock(records), tarHeader({})]));
  }
  const lonely = paxBlock({ 'GNU.sparse.numbytes': '1' });
  await rejects('ERR_OCI_TAR_PAX', Buffer.concat([lonely, tarHeader({})]));
});
