import assert from 'node:assert/strict';
import { test } from 'node:test';

import { byteString, randomAccessOf } from '../base/index.ts';
import {
  type TarBuilderEntry,
  buildTar,
  paxBlock,
  tarEntry,
} from '../../test/support/tar-builder.ts';
import type { RootfsErrorCode } from './index.ts';
import { apply, applyTars, directoryAt, nodeAt, pathsOf } from './testing/apply.ts';

const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');

async function rejectsWith(
  code: RootfsErrorCode,
  ...layers: readonly (readonly TarBuilderEntry[])[]
): Promise<void> {
  await assert.rejects(apply(...layers), { code });
}

test('no layers give an empty root of 1970', async () => {
  const { root, layers } = await apply();
  assert.deepEqual(layers, []);
  assert.equal(root.entries.size, 0);
  assert.equal(root.metadata.mode, 0o755);
  assert.deepEqual(root.metadata.modified, { seconds: 0, nanoseconds: 0 });
});

test('entries are in byte order of their names, whatever the order in the layer', async () => {
  const names = ['é', 'z', 'B', 'a.b', 'a', '\u{10000}', 'ﬀ'];
  const { root } = await apply(names.map((path) => ({ path })));
  const sorted = names.map((name) => Buffer.from(name)).sort((a, b) => a.compare(b));
  assert.deepEqual(
    [...root.entries.keys()],
    sorted.map((name) => name.toString('latin1')),
  );
});

test('the root entry sets the metadata of the root', async () => {
  const tree = await apply(
    [{ path: './', mode: 0o1711, uid: 5, gid: 6, modified: 7 }],
    [{ path: 'a' }],
  );
  assert.equal(tree.root.metadata.mode, 0o1711);
  assert.equal(tree.root.metadata.uid, 5);
  assert.equal(tree.root.metadataLayer, 0);
  assert.deepEqual(tree.root.changedByLayers, [0, 1]);
});

test('a root entry that is no directory changes nothing', async () => {
  const tree = await apply([{ path: '/', type: 'symlink', linkTarget: '/etc' }, { path: '..' }]);
  assert.equal(tree.root.type, 'directory');
  assert.deepEqual(pathsOf(tree), []);
});

test('files of equal metadata share one object, and no others', async () => {
  const tree = await apply([
    { path: 'a', modified: 7 },
    { path: 'b', modified: 8 },
    { path: 'c', modified: 7 },
    { path: 'd', modified: 7, mode: 0o600 },
    { path: 'e', modified: 7, xattrs: { 'user.x': 'y' } },
    { path: 'f', modified: 7, xattrs: { 'user.x': 'y' } },
  ]);
  const metadata = ['a', 'b', 'c', 'd', 'e', 'f'].map((path) => nodeAt(tree, path).metadata);
  assert.equal(metadata[0], metadata[2]);
  assert.equal(new Set(metadata).size, 5);
});

test('parents without an entry are made as 0755 of root, of 1970', async () => {
  const tree = await apply([{ path: 'a/b/c', uid: 9, modified: 10 }]);
  const { metadata } = directoryAt(tree, 'a/b');
  assert.deepEqual([metadata.mode, metadata.uid, metadata.gid], [0o755, 0, 0]);
  assert.equal(metadata.modified.seconds, 0);
});

test('paths are cleaned as if they started at the root', async () => {
  const tree = await apply([
    { path: '/abs' },
    { path: './here//there/./x' },
    { path: '../../up' },
    { path: 'no/../gone' },
  ]);
  assert.deepEqual(pathsOf(tree), ['abs', 'gone', 'here', 'here/there', 'here/there/x', 'up']);
});

test('of two entries of one path in a layer the last counts', async () => {
  const tree = await apply([
    { path: 'a', content: 'first' },
    { path: 'a', content: 'second!' },
  ]);
  const node = nodeAt(tree, 'a');
  assert.ok(node.type === 'file');
  assert.equal(node.content.sizeBytes, 7);
});

test('a whiteout removes the name and all below it', async () => {
  const tree = await apply(
    [{ path: 'd/e/f' }, { path: 'd/g' }, { path: 'h' }],
    [{ path: 'd/.wh.e' }, { path: '.wh.h' }, { path: '.wh.never-there' }],
  );
  assert.deepEqual(pathsOf(tree), ['d', 'd/g']);
  assert.deepEqual(directoryAt(tree, 'd').changedByLayers, [0, 1]);
  assert.deepEqual(tree.root.changedByLayers, [0, 1]);
});

test('a whiteout that removes nothing is no change', async () => {
  const tree = await apply([{ path: 'd/e' }], [{ path: 'd/.wh.x' }]);
  assert.deepEqual(directoryAt(tree, 'd').changedByLayers, [0]);
});

for (const position of ['first', 'last']) {
  const ordered = (whiteout: string, entries: TarBuilderEntry[]): TarBuilderEntry[] =>
    position === 'first' ? [{ path: whiteout }, ...entries] : [...entries, { path: whiteout }];

  test(`a whiteout that stands ${position} in its layer spares the layer's own entries`, async () => {
    const lower = [{ path: 'd/', mode: 0o700 }, { path: 'd/old' }];
    const file = await apply(lower, ordered('.wh.d', [{ path: 'd', content: 'x' }]));
    assert.equal(nodeAt(file, 'd').type, 'file');
    const inside = await apply(lower, ordered('.wh.d', [{ path: 'd/new' }]));
    assert.deepEqual(pathsOf(inside), ['d', 'd/new']);
    assert.equal(directoryAt(inside, 'd').metadata.mode, 0o755);
    assert.equal(directoryAt(inside, 'd').layer, 1);
    assert.deepEqual(directoryAt(inside, 'd').changedByLayers, [1]);
  });

  test(`an opaque marker that stands ${position} hides what lower layers have, no more`, async () => {
    const lower = [
      { path: 'd/', mode: 0o700 },
      { path: 'd/old/', mode: 0o711 },
      { path: 'd/old/file' },
      { path: 'd/both/', mode: 0o711 },
      { path: 'd/both/old' },
      { path: 'd/linked', content: 'l' },
    ];
    const upper: TarBuilderEntry[] = [
      { path: 'd/new' },
      { path: 'd/both/new' },
      { path: 'elsewhere', type: 'hardlink', linkTarget: 'd/linked' },
      { path: 'd/again', type: 'hardlink', linkTarget: 'elsewhere' },
    ];
    const [before, after] =
      position === 'first' ? [upper.slice(2), upper.slice(0, 2)] : [upper, []];
    const tree = await apply(lower, [...before, { path: 'd/.wh..wh..opq' }, ...after]);
    const paths = ['d', 'd/again', 'd/both', 'd/both/new', 'd/new', 'elsewhere'];
    assert.deepEqual(pathsOf(tree), paths);
    assert.equal(directoryAt(tree, 'd').metadata.mode, 0o700);
    assert.equal(directoryAt(tree, 'd').layer, 0);
    assert.equal(directoryAt(tree, 'd/both').metadata.mode, 0o755);
    const linked = nodeAt(tree, 'elsewhere');
    assert.ok(linked.type === 'file' && linked === nodeAt(tree, 'd/again'));
    assert.deepEqual([linked.linkCount, linked.layer, linked.content.layer], [2, 0, 0]);
  });
}

test('a whiteout of what no directory can hold is an error', async () => {
  await rejectsWith('ERR_ROOTFS_WHITEOUT', [{ path: 'd/.wh.' }]);
  await rejectsWith('ERR_ROOTFS_WHITEOUT', [{ path: 'd/.wh..' }]);
  await rejectsWith('ERR_ROOTFS_WHITEOUT', [{ path: 'd/.wh...' }]);
});

test("AUFS's own files are left out", async () => {
  const tree = await apply([
    { path: '.wh..wh.aufs' },
    { path: '.wh..wh.orph/' },
    { path: '.wh..wh.plnk/' },
    { path: '.wh..wh.plnk/12.34', content: 'x' },
    { path: 'd/.wh..wh.plnk/1' },
    { path: 'a' },
  ]);
  assert.deepEqual(pathsOf(tree), ['a']);
  assert.deepEqual(tree.layers[0]?.files, []);
});

test('a directory over a directory takes the new metadata and keeps its entries', async () => {
  const tree = await apply(
    [{ path: 'd/', mode: 0o700, xattrs: { 'user.old': '1' } }, { path: 'd/x' }],
    [{ path: 'd', type: 'directory', mode: 0o2775, uid: 3, xattrs: { 'user.new': '2' } }],
  );
  const directory = directoryAt(tree, 'd');
  assert.deepEqual([...directory.entries.keys()], ['x']);
  assert.equal(directory.metadata.mode, 0o2775);
  assert.deepEqual([...directory.metadata.xattrs.keys()], ['user.new']);
  assert.deepEqual([directory.layer, directory.metadataLayer], [0, 1]);
  assert.deepEqual(directory.changedByLayers, [0]);
  assert.deepEqual(tree.root.changedByLayers, [0]);
});

test('what replaces something of another type starts afresh', async () => {
  const tree = await apply(
    [{ path: 'd/x/y' }, { path: 'f' }],
    [
      { path: 'd', content: 'now a file' },
      { path: 'f', type: 'directory' },
    ],
  );
  assert.deepEqual(pathsOf(tree), ['d', 'f']);
  assert.equal(nodeAt(tree, 'd').type, 'file');
  assert.equal(nodeAt(tree, 'd').layer, 1);
  assert.deepEqual(directoryAt(tree, 'f').changedByLayers, [1]);
});

test('hard links of one inode are one node, whose content stays with the layer that brought it', async () => {
  const tree = await apply(
    [{ path: 'a', content: 'abc', mode: 0o600 }],
    [{ path: 'b', type: 'hardlink', linkTarget: '/a', mode: 0o4755, uid: 7, modified: 8 }],
    [{ path: '.wh.a' }],
  );
  const node = nodeAt(tree, 'b');
  assert.ok(node.type === 'file');
  assert.deepEqual([node.linkCount, node.layer, node.content.layer], [1, 0, 0]);
  assert.equal(node.content.path, 'a');
  assert.deepEqual([node.metadata.mode, node.metadata.uid], [0o4755, 7]);
  assert.equal(node.metadata.modified.seconds, 8);
  assert.deepEqual(
    tree.layers.map(({ files }) => files.length),
    [1, 0, 0],
  );
});

test('a hard link to a symbolic link is a name of the link itself', async () => {
  const tree = await apply([
    { path: 'l', type: 'symlink', linkTarget: 'nowhere' },
    { path: 'm', type: 'hardlink', linkTarget: 'l' },
  ]);
  assert.equal(nodeAt(tree, 'm'), nodeAt(tree, 'l'));
});

test('an access control list says of owner, mask and others what the mode says, as after a chmod', async () => {
  const list = aclOf('01-0 02-4 04-5 08-7 10-0 20-0');
  const withList = { 'system.posix_acl_access': list };
  const tree = await apply([
    { path: 'f', mode: 0o751, xattrs: withList },
    { path: 'd/', mode: 0o700, xattrs: { 'system.posix_acl_default': list } },
    { path: 'l', type: 'hardlink', linkTarget: 'f', mode: 0o640, xattrs: { 'user.a': 'b' } },
    { path: 'g', mode: 0o751, xattrs: { 'system.posix_acl_access': aclOf('01-0 04-0 10-0 20-0') } },
  ]);
  const listAt = (path: string, kind = 'access') =>
    nodeAt(tree, path).metadata.xattrs.get(byteString(`system.posix_acl_${kind}`));
  assert.deepEqual(listAt('f'), aclOf('01-6 02-4 04-5 08-7 10-4 20-0'));
  assert.deepEqual(listAt('g'), aclOf('01-7 04-0 10-5 20-1'));
  assert.deepEqual(listAt('d', 'default'), list, 'a default list is for what comes later');
});

test('access control lists that say no more than the mode, or what Linux does not know, are none', async () => {
  const tree = await apply([
    { path: 'f', mode: 0o751, xattrs: { 'system.posix_acl_access': aclOf('01-0 04-0 20-0') } },
    { path: 'g', xattrs: { 'system.posix_acl_access': aclOf('') } },
    { path: 'h', xattrs: { 'system.posix_acl_access': '' } },
    { path: 'i', xattrs: { 'system.posix_acl_access': Buffer.from('03000000ffff', 'hex') } },
    { path: 'd/', xattrs: { 'system.posix_acl_default': aclOf('') } },
  ]);
  for (const path of ['f', 'g', 'h', 'i', 'd'])
    assert.equal(nodeAt(tree, path).metadata.xattrs.size, 0);
});

test('access control lists and capabilities that Linux would refuse are errors', async () => {
  for (const list of [
    '01-6',
    '01-6 20-4 04-4',
    '01-6 02-4 04-4 20-4',
    '01-8 04-4 20-4',
    '01-6 04-4 04-4 20-4',
    '03-1',
  ]) {
    for (const name of ['system.posix_acl_access', 'system.posix_acl_default']) {
      await rejectsWith('ERR_ROOTFS_XATTR', [{ path: 'd/', xattrs: { [name]: aclOf(list) } }]);
    }
  }
  const odd = [Buffer.from('02'), aclOf('01-6 04-4 20-4').subarray(0, 27)];
  for (const value of odd) {
    const xattrs = { 'system.posix_acl_access': value };
    await rejectsWith('ERR_ROOTFS_XATTR', [{ path: 'f', xattrs }]);
  }
  for (const value of ['', 'x', capability.subarray(1), Buffer.alloc(20)]) {
    await rejectsWith('ERR_ROOTFS_XATTR', [
      { path: 'f', xattrs: { 'security.capability': value } },
    ]);
  }
});

test('a hard link keeps attributes but not capabilities, as Linux does on a change of owner', async () => {
  const file = {
    path: 'a',
    content: 'x',
    xattrs: { 'user.b': '1', 'user.d': '2', 'security.capability': capability },
  };
  const link: TarBuilderEntry = { path: 'l', type: 'hardlink', linkTarget: 'a' };
  const bare = await apply([file, link]);
  assert.deepEqual([...nodeAt(bare, 'a').metadata.xattrs.keys()], ['user.b', 'user.d']);
  const xattrs = { 'user.c': '3', 'security.capability': capability };
  const full = await apply([file, { ...link, xattrs }]);
  const names = ['security.capability', 'user.b', 'user.c', 'user.d'];
  assert.deepEqual([...nodeAt(full, 'a').metadata.xattrs.keys()], names);
});

test('a hard link to a directory or to nothing is an error', async () => {
  const linkTo = (linkTarget: string): TarBuilderEntry[] => [
    { path: 'd/e/' },
    { path: 'self' },
    { path: 'self', type: 'hardlink', linkTarget },
  ];
  for (const target of ['d/e', 'd/e/missing', 'missing/x', '/', '', 'self', '../..']) {
    await rejectsWith('ERR_ROOTFS_LINK_TARGET', linkTo(target));
  }
});

test('symbolic links on the way are followed inside the root', async () => {
  const links: TarBuilderEntry[] = [
    { path: 'abs', type: 'symlink', linkTarget: '/usr/lib' },
    { path: 'a/rel', type: 'symlink', linkTarget: '../usr/./lib/' },
    { path: 'out', type: 'symlink', linkTarget: '../../../../etc' },
    { path: 'chain', type: 'symlink', linkTarget: 'abs' },
    { path: 'dangling', type: 'symlink', linkTarget: 'not/yet' },
  ];
  const tree = await apply(links, [
    { path: 'abs/1' },
    { path: 'a/rel/2' },
    { path: 'out/3' },
    { path: 'chain/deeper/4' },
    { path: 'dangling/5' },
    { path: 'linked', type: 'hardlink', linkTarget: 'chain/1' },
  ]);
  const files = pathsOf(tree).filter((path) => nodeAt(tree, path).type === 'file');
  assert.deepEqual(files, [
    'etc/3',
    'linked',
    'not/yet/5',
    'usr/lib/1',
    'usr/lib/2',
    'usr/lib/deeper/4',
  ]);
  assert.equal(nodeAt(tree, 'linked'), nodeAt(tree, 'usr/lib/1'));
  assert.equal(nodeAt(tree, 'abs').type, 'symlink');
});

test('a link that a layer puts in place of a directory is followed inside the root by the next', async () => {
  const tree = await apply(
    [{ path: 'etc/passwd', content: 'root' }, { path: 'data/x' }],
    [
      { path: 'data', type: 'symlink', linkTarget: '/' },
      { path: 'parent', type: 'symlink', linkTarget: '../../..' },
    ],
    [
      { path: 'data/etc/shadow' },
      { path: 'parent/etc/group' },
      { path: 'parent/../../etc/hosts' },
      { path: 'copy', type: 'hardlink', linkTarget: '../../parent/etc/passwd' },
    ],
  );
  assert.deepEqual(pathsOf(tree), [
    'copy',
    'data',
    'etc',
    'etc/group',
    'etc/hosts',
    'etc/passwd',
    'etc/shadow',
    'parent',
  ]);
  assert.equal(nodeAt(tree, 'copy'), nodeAt(tree, 'etc/passwd'));
});

test("`..` in a link's text leads up from where the link before it leads", async () => {
  const tree = await apply([
    { path: 'b', type: 'symlink', linkTarget: '/x/y' },
    { path: 'l', type: 'symlink', linkTarget: 'b/../c' },
    { path: 'l/f' },
    { path: 'm', type: 'symlink', linkTarget: 'not/../there/./yet/..' },
    { path: 'm/g' },
    { path: 'h', type: 'hardlink', linkTarget: 'b/../c/f' },
  ]);
  assert.deepEqual(pathsOf(tree), ['b', 'h', 'l', 'm', 'there', 'there/g', 'x', 'x/c', 'x/c/f']);
  assert.equal(nodeAt(tree, 'h'), nodeAt(tree, 'x/c/f'));
});

test('trees as deep as a path can be are applied, hidden and listed', async () => {
  const deep = 'd/'.repeat(2047);
  const tree = await apply(
    [{ path: `${deep}x` }],
    [{ path: `${deep}y` }, { path: '.wh.d' }],
    [{ path: 'd/.wh..wh..opq' }, { path: 'z' }],
  );
  assert.deepEqual(pathsOf(tree), ['d', 'z']);
});

test('an entry at a symbolic link replaces it and does not go through it', async () => {
  const tree = await apply(
    [
      { path: 'target', content: 'safe' },
      { path: 'l', type: 'symlink', linkTarget: 'target' },
    ],
    [{ path: 'l', content: 'mine' }],
    [{ path: 'l/', mode: 0o700 }],
  );
  assert.equal(nodeAt(tree, 'target').layer, 0);
  assert.equal(directoryAt(tree, 'l').layer, 2);
});

test('whiteouts and opaque markers go through symbolic links to the directory meant', async () => {
  const tree = await apply(
    [
      { path: 'd/x' },
      { path: 'e/y' },
      { path: 'to-d', type: 'symlink', linkTarget: '/d' },
      { path: 'to-e', type: 'symlink', linkTarget: '../e' },
    ],
    [{ path: 'to-d/.wh.x' }, { path: 'to-e/.wh..wh..opq' }],
  );
  assert.deepEqual(pathsOf(tree), ['d', 'e', 'to-d', 'to-e']);
});

test('a loop of symbolic links is an error', async () => {
  await rejectsWith('ERR_ROOTFS_LINK_LOOP', [
    { path: 'a', type: 'symlink', linkTarget: 'b' },
    { path: 'b', type: 'symlink', linkTarget: './a' },
    { path: 'a/x' },
  ]);
  await rejectsWith('ERR_ROOTFS_LINK_LOOP', [
    { path: 'a', type: 'symlink', linkTarget: 'a/b/c' },
    { path: 'x', type: 'hardlink', linkTarget: 'a/y' },
  ]);
});

test('a path through a file is an error', async () => {
  await rejectsWith('ERR_ROOTFS_NOT_A_DIRECTORY', [{ path: 'f' }], [{ path: 'f/x' }]);
  await rejectsWith('ERR_ROOTFS_NOT_A_DIRECTORY', [{ path: 'f' }], [{ path: 'f/.wh.x' }]);
});

test('symbolic links cannot make a tree deeper than a path can be', async () => {
  const deep = 'd/'.repeat(1500);
  const link: TarBuilderEntry = { path: 'l', type: 'symlink', linkTarget: deep };
  await rejectsWith('ERR_ROOTFS_PATH_TOO_LONG', [link, { path: `l/${deep}x` }]);
});

test('names, paths and link targets are held to what Linux takes', async () => {
  const name = 'n'.repeat(255);
  const path = `${`${name}/`.repeat(15)}${'p'.repeat(256 - 16)}/${'q'.repeat(15)}`;
  assert.equal(path.length, 4096);
  const target = 't'.repeat(4095);
  await apply([{ path }, { path: 's', type: 'symlink', linkTarget: target }]);
  await rejectsWith('ERR_ROOTFS_PATH_TOO_LONG', [{ path: `${path}q` }]);
  await rejectsWith('ERR_ROOTFS_PATH_TOO_LONG', [{ path: `${name}n` }]);
  await rejectsWith('ERR_ROOTFS_PATH_TOO_LONG', [{ path: `${name}n/x` }]);
  const symlink = (linkTarget: string): TarBuilderEntry => ({
    path: 's',
    type: 'symlink',
    linkTarget,
  });
  await rejectsWith('ERR_ROOTFS_SYMLINK_TARGET', [symlink(`${target}t`)]);
  await rejectsWith('ERR_ROOTFS_SYMLINK_TARGET', [symlink('')]);
});

test('devices keep their numbers, and only numbers that Linux has', async () => {
  const device = { path: 'c', type: 'character-device', deviceMajor: 4095 } as const;
  const tree = await apply([
    { ...device, deviceMinor: 1_048_575 },
    { path: 'p', type: 'fifo' },
  ]);
  const node = nodeAt(tree, 'c');
  assert.ok(node.type === 'character-device');
  assert.deepEqual([node.deviceMajor, node.deviceMinor], [4095, 1_048_575]);
  assert.equal(nodeAt(tree, 'p').type, 'fifo');
  await rejectsWith('ERR_ROOTFS_DEVICE', [{ ...device, deviceMajor: 4096 }]);
  await rejectsWith('ERR_ROOTFS_DEVICE', [{ ...device, deviceMinor: 1_048_576 }]);
});

/** An access control list from its entries' tags and permissions; named ones are of the ids 1, 2, 3 and so on. */
function aclOf(entries: string): Buffer {
  const parts = entries.split(' ').map((entry, index) => {
    const [tag = '', permissions = ''] = entry.split('-');
    const isNamed = tag === '02' || tag === '08';
    return Buffer.from(
      `${tag}00${permissions.padStart(2, '0')}00${isNamed ? `0${index}000000` : 'ffffffff'}`,
      'hex',
    );
  });
  return Buffer.concat([Buffer.from('02000000', 'hex'), ...(entries === '' ? [] : parts)]);
}

test('extended attributes that Linux would not set on the file, and those of overlayfs, are left out and counted', async () => {
  const xattrs = {
    'user.u': 'v',
    'user.empty': '',
    'trusted.t': 'v',
    'trusted.overlay.opaque': 'y',
    'security.s': 'v',
    'system.posix_acl_access': aclOf('01-6 02-4 04-4 10-4 20-4'),
    'system.posix_acl_default': aclOf('01-7 04-5 20-5'),
    'system.other': 'v',
    nonsense: 'v',
  };
  const tree = await apply([
    { path: 'd/', xattrs },
    { path: 'f', xattrs },
    { path: 'l', type: 'symlink', linkTarget: 'f', xattrs },
    { path: 'p', type: 'fifo', xattrs },
    { path: 'h', type: 'hardlink', linkTarget: 'f', xattrs: { 'com.apple.provenance': 'v' } },
  ]);
  const namesAt = (path: string): string[] => [...nodeAt(tree, path).metadata.xattrs.keys()];
  const access = 'system.posix_acl_access';
  const more = ['trusted.t', 'user.empty', 'user.u'];
  assert.deepEqual(namesAt('d'), ['security.s', access, 'system.posix_acl_default', ...more]);
  assert.deepEqual(namesAt('f'), ['security.s', access, ...more]);
  assert.deepEqual(namesAt('l'), ['security.s', 'trusted.t']);
  assert.deepEqual(namesAt('p'), ['security.s', access, 'trusted.t']);
  // Of d, f, l and p: "system.other" of each, the default list of all but d, the access list of l.
  const leftOut = { 'trusted.overlay': 4, user: 4, system: 4 + 3 + 1, other: 4 + 1 };
  assert.deepEqual(tree.leftOutXattrs, leftOut);
  const value = nodeAt(tree, 'f').metadata.xattrs.get(byteString('user.empty'));
  assert.equal(value?.byteLength, 0);
});

test('extended attributes of absurd sizes are an error', async () => {
  const file = (name: string, bytes: number): TarBuilderEntry => {
    return { path: 'f', xattrs: { [name]: Buffer.alloc(bytes, 'v') } };
  };
  await apply([file(`user.${'n'.repeat(250)}`, 65_536)]);
  await rejectsWith('ERR_ROOTFS_XATTR', [file(`user.${'n'.repeat(251)}`, 1)]);
  await rejectsWith('ERR_ROOTFS_XATTR', [file('user.big', 65_537)]);
  await rejectsWith('ERR_ROOTFS_XATTR', [file('user.', 1)]);
});

test('symbolic links have mode 0777, and times before 1970 become 1970', async () => {
  const tree = await apply([
    { path: 'l', type: 'symlink', linkTarget: 'x', mode: 0o644 },
    { path: 'old', modified: { seconds: -1, nanoseconds: 999_999_999 } },
    { path: 'far', modified: 9_223_372_037 },
    { path: 'last', modified: { seconds: 9_223_372_036, nanoseconds: 1 } },
  ]);
  assert.equal(nodeAt(tree, 'l').metadata.mode, 0o777);
  const epoch = { seconds: 0, nanoseconds: 0 };
  assert.deepEqual(nodeAt(tree, 'old').metadata.modified, epoch);
  assert.deepEqual(nodeAt(tree, 'far').metadata.modified, epoch);
  const last = { seconds: 9_223_372_036, nanoseconds: 1 };
  assert.deepEqual(nodeAt(tree, 'last').metadata.modified, last);
});

test("a layer's content lists all files with data by path, dead ones too, links once", async () => {
  const tree = await apply(
    [
      { path: './b', content: 'b1' },
      { path: 'link', type: 'hardlink', linkTarget: 'b' },
      { path: 'a.x', content: 'ax' },
      { path: 'a/y', content: 'ay' },
      { path: 'empty' },
      { path: 'b', content: 'b2' },
    ],
    [{ path: '.wh.a.x' }, { path: 'a', content: 'no longer a directory' }],
  );
  assert.deepEqual(
    tree.layers.map(({ files }) => files.map(({ path, layer }) => `${layer}:${path}`)),
    [['0:a.x', '0:a/y', '0:b', '0:b'], ['1:a']],
  );
  const [, , first, second] = tree.layers[0]?.files ?? [];
  const link = nodeAt(tree, 'link');
  const file = nodeAt(tree, 'b');
  assert.ok(link.type === 'file' && file.type === 'file');
  assert.equal(link.content, first);
  assert.equal(file.content, second);
});

test('more entries than allowed are an error, implicit parents counted', async () => {
  const tar = randomAccessOf(buildTar([{ path: 'a/b/c' }, { path: 'd' }]));
  await applyTars([tar], { entriesMax: 4 });
  const tooMany = applyTars([tar], { entriesMax: 3 });
  await assert.rejects(tooMany, { code: 'ERR_ROOTFS_TOO_MANY_ENTRIES' });
});

test('an entry whose attributes or sparse runs take much memory counts as several', async () => {
  const runs = Array.from({ length: 12 }, (_, run) => `${run * 8192},1`);
  const sparse = { 'GNU.sparse.size': '98304', 'GNU.sparse.map': runs.join(',') };
  const content = 'x'.repeat(runs.length);
  for (const heavy of [
    tarEntry({ path: 'a', xattrs: { 'user.a': Buffer.alloc(1000) } }),
    Buffer.concat([paxBlock(sparse), tarEntry({ path: 'a', content }, 'ustar')]),
  ]) {
    const tar = randomAccessOf(Buffer.concat([heavy, Buffer.alloc(1024)]));
    await applyTars([tar], { entriesMax: 3 });
    const tooMany = applyTars([tar], { entriesMax: 2 });
    await assert.rejects(tooMany, { code: 'ERR_ROOTFS_TOO_MANY_ENTRIES' });
  }
});

test('an error names the layer and the entry', async () => {
  const failing = apply([{ path: 'ok' }], [{ path: './bad', type: 'hardlink', linkTarget: 'no' }]);
  await assert.rejects(failing, {
    name: 'ApplyError',
    path: './bad',
    diffId: `sha256:${'1'.padStart(64, '0')}`,
    message:
      `Cannot apply "./bad" of layer sha256:${'1'.padStart(64, '0')}: ` +
      'its target "no" does not exist; have the image rebuilt',
  });
});
