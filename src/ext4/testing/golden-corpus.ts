/** For tests: images whose disks must not change unnoticed, whatever machine plans and renders them. */

import { planDisk } from '../index.ts';
import { collidingNames } from './colliding-names.ts';
import { diskDigest, testImage, type EntryInWords, type TestImage } from './images.ts';

const kinds: readonly EntryInWords[] = [
  { path: 'etc/hostname', data: 'thaw\n', nanoseconds: 5 },
  { path: 'hard', type: 'hardlink', target: 'etc/hostname', nanoseconds: 5 },
  { path: 'link', type: 'symlink', target: 'x'.repeat(100) },
  { path: 'null', type: 'character-device', device: [1, 3] },
  {
    path: 'later',
    seconds: 2_524_608_000,
    xattrs: { 'user.a': 'b', 'user.long': 'x'.repeat(200) },
  },
];
const packages: readonly EntryInWords[] = Array.from({ length: 3000 }, (_, index) => {
  return {
    path: `usr/lib/p${index % 40}/f${index}`,
    data: 100 + ((index * 7919) % 30_000),
    seed: index,
  };
});
const large: readonly EntryInWords[] = [
  { path: 'large', data: 2_000_000, seed: 1 },
  {
    path: 'holes',
    data: 900_000,
    parts: [
      [0, 9],
      [400_000, 9],
      [800_000, 9],
    ],
    seed: 2,
  },
];
const edits: readonly EntryInWords[] = [
  { path: 'usr/lib/p1/f1', data: 'edited' },
  { path: 'usr/lib/p2/.wh.f2' },
  { path: 'etc/added', data: 'x' },
];
const crowded: readonly EntryInWords[] = Array.from({ length: 2000 }, (_, index) => {
  return { path: `crowd/${'n'.repeat(index % 90)}${index}` };
});

/** user::rw-, user:1000:r--, group::r--, mask::r--, other::--- */
export const acl = Buffer.from(
  '02000000' +
    '01000600ffffffff' +
    '02000400e8030000' +
    '04000400ffffffff' +
    '10000400ffffffff' +
    '20000000ffffffff',
  'hex',
);
export const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');

const attributes: readonly EntryInWords[] = [
  { path: 'capable', data: 'x', xattrs: { 'security.capability': capability } },
  { path: 'listed', data: 'x', mode: 0o640, xattrs: { 'system.posix_acl_access': acl } },
  {
    path: 'shared',
    type: 'directory',
    mode: 0o750,
    xattrs: { 'system.posix_acl_default': acl, 'user.long': 'x'.repeat(1000) },
  },
  {
    path: 'many',
    xattrs: Object.fromEntries(
      Array.from({ length: 40 }, (_, index) => [`user.${'n'.repeat(index)}${index}`, `v${index}`]),
    ),
  },
];
const deep: readonly EntryInWords[] = [
  {
    path: 'deep',
    data: 3000 * 8192,
    parts: Array.from({ length: 3000 }, (_, index) => [index * 8192, 100] as const),
    seed: 3,
  },
];
const colliding: readonly EntryInWords[] = [
  ...Array.from({ length: 12_000 }, (_, index) => ({ path: `d/${'n'.repeat(150)}${index}` })),
  ...collidingNames.map((name) => ({ path: `d/${name}` })),
];
const rearranged: readonly EntryInWords[] = [
  { path: 'usr/lib/.wh..wh..opq' },
  { path: 'usr/bin', type: 'symlink', target: 'lib' },
  { path: 'etc/hostname', type: 'hardlink', target: 'later' },
  { path: '.wh.hard' },
  { path: 'hard/now/a/directory', data: 5000, seed: 4 },
];
const stacked: readonly (readonly EntryInWords[])[] = Array.from({ length: 20 }, (_, layer) =>
  packages
    .slice(layer * 100, layer * 100 + 100 + layer)
    .map((entry, index) => (index % 9 === layer % 9 ? { ...entry, seed: 5000 + layer } : entry)),
);

/** Of every name by which a file is taken for seldom read one file, among others. */
const seldomRead: readonly EntryInWords[] = [
  ...'doc docs man info test tests __tests__'.split(' ').map((name) => `usr/${name}/file`),
  ...'esm esm5 es es6 es2015 dist-es module dist-types browser umd amd'
    .split(' ')
    .map((name) => `node_modules/package/${name}/file.js`),
  ...'ts cts mts tsx flow pyi map tsbuildinfo md markdown rst txt'
    .split(' ')
    .map((extension) => `source/file.${extension}`),
  'first',
  'usr/zzz',
].map((path, index) => ({ path, data: 5000, seed: 100 + index }));
/** Packages of three files each: their times an hour less a second apart in fives, more between one five and the next. */
const timed: readonly EntryInWords[] = Array.from({ length: 600 }, (_, index) => {
  const group = index % 200;
  const seconds = 1_600_000_000 + group * 3599 + Math.floor(group / 5);
  return { path: `usr/share/${index}`, data: 9000, seed: 200 + index, seconds };
});
const sizes: readonly EntryInWords[] = [
  100,
  120,
  127,
  128,
  129,
  63 * 4096,
  64 * 4096,
  65 * 4096,
].map((data, index) => ({ path: `size/${index}`, data, seed: 900 + index }));
/** Layers that all want to lie in the same place. */
const crowding: readonly (readonly EntryInWords[])[] = [1, 2, 3, 4].map((layer) => [
  { path: 'same', data: 100_000 * layer, seed: 950 + layer },
]);

/** Every field of an inode at its ends. */
const fields: readonly EntryInWords[] = [
  { path: 'owner/low', uid: 65_535, gid: 1000, data: 9 },
  { path: 'owner/high', uid: 65_536, gid: 4_294_967_294, data: 9000 },
  { path: 'owner/swapped', uid: 4_000_000_000, gid: 70_000, type: 'directory', mode: 0o2775 },
  { path: 'mode/none', mode: 0, data: 1 },
  { path: 'mode/all', mode: 0o7777, data: 1 },
  { path: 'time/first', seconds: 0, data: 1 },
  { path: 'time/last-of-31-bits', seconds: 2 ** 31 - 1, nanoseconds: 999_999_999, data: 1 },
  { path: 'time/first-of-32-bits', seconds: 2 ** 31, nanoseconds: 1, data: 1 },
  { path: 'time/last', seconds: 3 * 2 ** 32 - 2 ** 31 - 1, nanoseconds: 999_999_999, data: 1 },
  { path: 'kind/fifo', type: 'fifo', mode: 0o620 },
  { path: 'kind/near', type: 'block-device', device: [255, 255], mode: 0o660, gid: 6 },
  { path: 'kind/far', type: 'character-device', device: [4095, 1_048_575] },
  { path: 'kind/59', type: 'symlink', target: 'x'.repeat(59), uid: 7 },
  { path: 'kind/60', type: 'symlink', target: 'x'.repeat(60), gid: 7 },
  { path: 'kind/129', type: 'symlink', target: 'x'.repeat(129) },
  { path: 'size/past-4-gib', data: 2 ** 32 + 1, seed: 960, parts: [[2 ** 32 - 4097, 4098]] },
];

/** Images by name, each as its layers. Between them they use every part of the writer. */
const corpus: Readonly<Record<string, readonly (readonly EntryInWords[])[]>> = {
  empty: [],
  kinds: [kinds],
  packages: [packages, large],
  edited: [kinds, packages, edits],
  crowded: [crowded],
  attributes: [attributes],
  deep: [deep],
  colliding: [colliding],
  rearranged: [kinds, packages, rearranged],
  deleted: [kinds, [{ path: '.wh..wh..opq' }]],
  stacked,
  seldomRead: [seldomRead],
  timed: [timed],
  sizes: [sizes],
  crowding,
  fields: [fields],
};

/** Each image by its name. */
export async function* goldenImages(): AsyncGenerator<readonly [name: string, image: TestImage]> {
  for (const [name, layers] of Object.entries(corpus)) yield [name, await testImage(layers)];
}

/** The digest of each image's disk. */
export async function goldenDigests(): Promise<Record<string, string>> {
  const digests: Record<string, string> = {};
  for await (const [name, image] of goldenImages()) {
    digests[name] = await diskDigest(planDisk(image.tree), image.content);
  }
  return digests;
}
