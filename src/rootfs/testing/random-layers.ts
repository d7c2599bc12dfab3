/** Layers of random entries over few names, so that they meet: replace, hide, link and lead to each other. */

import fc from 'fast-check';

import type { TarBuilderEntry } from '../../../test/support/tar-builder.ts';
import { ApplyError } from '../index.ts';
import { apply } from './apply.ts';

export type Layer = readonly TarBuilderEntry[];

export interface LayerOptions {
  /** Whether files, links and devices differ in owner, mode and time. Directories always do. */
  readonly withAttributes: boolean;
  readonly withHardLinks: boolean;
  /** Default true. */
  readonly withSymlinks?: boolean;
  /** Whether there are access control lists, capabilities and attributes of namespaces that are not kept. */
  readonly withMoreXattrs?: boolean;
  /** Whether the text of links may go up after it has gone down. */
  readonly withTangledLinks?: boolean;
}

export function randomLayers(options: LayerOptions): fc.Arbitrary<Layer[]> {
  const layer = fc.array(randomEntry(options), { minLength: 1, maxLength: 12, size: 'max' });
  return fc.array(layer, { minLength: 1, maxLength: 4, size: 'max' });
}

/**
 * The layers without the entries that `applyLayers` refuses. Most random layers hold one, and after it
 * nothing can be compared.
 */
export async function withoutRefused(layers: readonly Layer[]): Promise<Layer[]> {
  const kept: TarBuilderEntry[][] = [];
  for (const layer of layers) {
    const keptOfLayer: TarBuilderEntry[] = [];
    kept.push(keptOfLayer);
    for (const entry of layer) {
      keptOfLayer.push(entry);
      try {
        await apply(...kept);
      } catch (thrown) {
        if (!(thrown instanceof ApplyError)) throw thrown;
        keptOfLayer.pop();
      }
    }
  }
  return kept;
}

/**
 * Where whiteouts come after other entries of their layer, containerd removes those too, which the specification forbids,
 * and umoci lets a directory that is hidden but has something new in it keep its old metadata.
 */
export function whiteoutsFirst(layer: Layer): Layer {
  return [...layer.filter(isMarker), ...layer.filter((entry) => !isMarker(entry))];
}

export function isMarker({ path }: TarBuilderEntry): boolean {
  return path.toString().includes('.wh.');
}

const names = ['a', 'b', 'c', 'd.e', 'é'];
const name = fc.constantFrom(...names);
const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
const spelledPath = spelled('', './', '/', '../', './/', 'a/../');
/** umoci takes `..` after a symbolic link lexically here; containerd, and so we, do not. */
const hardLinkTarget = spelled('', './', '/', '../', './/');

function spelled(...starts: readonly string[]): fc.Arbitrary<string> {
  return fc.tuple(fc.constantFrom(...starts), path).map(([start, rest]) => start + rest);
}

/** Where symbolic links lead: down, up, out, to themselves, nowhere. */
const plainTargets = ['a', 'b/c', '/a', '/b/a', '..', '../a', '../../../c', '/', '.', 'b/'];
const tangledTargets = ['b/../c', 'a/./b/..', '/c/../d.e', 'c/../../a'];

const owner = fc.constantFrom(0, 1, 1000, 70_000, 4_000_000_000);
const modified = record({
  // Time 0 is that of directories without an entry.
  seconds: fc.integer({ min: 1, max: 2 ** 33 }),
  nanoseconds: fc.nat(999_999_999),
});
const attributes = record({ mode: fc.nat(0o7777), uid: owner, gid: owner, modified });
const accessList = Buffer.from(
  '0200000001000600ffffffff02000700e803000004000400ffffffff10000600ffffffff20000000ffffffff',
  'hex',
);
const moreXattrs = fc.constantFrom<Record<string, string | Buffer>>(
  { 'user.empty': '' },
  { 'user.long': 'x'.repeat(3000), 'user.a': 'b' },
  { 'security.capability': Buffer.from('0100000200040000000000000000000000000000', 'hex') },
  { 'security.capability': 'none' },
  { 'system.posix_acl_access': accessList, 'user.a': 'b' },
  // No more than a mode.
  {
    'system.posix_acl_access': Buffer.concat([
      accessList.subarray(0, 12),
      accessList.subarray(20, 28),
      accessList.subarray(36),
    ]),
  },
  { 'system.posix_acl_access': 'none' },
  { 'trusted.x': 'y', 'com.apple.provenance': 'z', 'trusted.overlay.opaque': 'y' },
);
/** umoci loses empty ones; containerd, and so we, do not. */
const xattrs = fc.constantFrom<Record<string, string>>({}, {}, { 'user.x': 'y', 'user.é': '=\n' });

function randomEntry(options: LayerOptions): fc.Arbitrary<TarBuilderEntry> {
  const leafAttributes = options.withAttributes ? attributes : fc.constant({});
  const leaf = (type: NonNullable<TarBuilderEntry['type']>, more: fc.Arbitrary<object>) =>
    fc
      .tuple(spelledPath, leafAttributes, more)
      .map(([path, inode, rest]): TarBuilderEntry => ({ path, ...inode, ...rest, type }));
  const marker = (last: fc.Arbitrary<string>) =>
    fc.tuple(spelledPath, last).map(([directory, last]) => ({ path: `${directory}/${last}` }));
  const directory = fc.tuple(spelledPath, attributes).map(([path, inode]): TarBuilderEntry => {
    // In a directory with the set-group-id bit Linux gives its group to the parents made without an entry.
    return { path, ...inode, mode: inode.mode & ~0o2000, type: 'directory' };
  });
  const anyXattrs = options.withMoreXattrs === true ? fc.oneof(xattrs, moreXattrs) : xattrs;
  const content = record({
    content: fc.constantFrom('', 'x', 'content', 'c'.repeat(5000)),
    xattrs: anyXattrs,
  });
  const device = record({ deviceMajor: fc.nat(4095), deviceMinor: fc.nat(1_048_575) });
  return fc.oneof(
    { weight: 6, arbitrary: leaf('file', content) },
    { weight: 5, arbitrary: directory },
    {
      weight: (options.withSymlinks ?? true) ? 3 : 0,
      arbitrary: leaf('symlink', record({ linkTarget: symlinkTarget(options) })),
    },
    {
      weight: options.withHardLinks ? 6 : 0,
      arbitrary: leaf('hardlink', record({ linkTarget: hardLinkTarget })),
    },
    { weight: 1, arbitrary: leaf('fifo', fc.constant({})) },
    { weight: 1, arbitrary: leaf('block-device', device) },
    { weight: 3, arbitrary: marker(name.map((name) => `.wh.${name}`)) },
    { weight: 2, arbitrary: marker(fc.constant('.wh..wh..opq')) },
  );
}

function symlinkTarget({ withTangledLinks = false }: LayerOptions): fc.Arbitrary<string> {
  return fc.constantFrom(...plainTargets, ...(withTangledLinks ? tangledTargets : []));
}

function record<Value extends object>(model: {
  [Key in keyof Value]: fc.Arbitrary<Value[Key]>;
}): fc.Arbitrary<Value> {
  return fc.record(model, { noNullPrototype: true }) as fc.Arbitrary<Value>;
}
