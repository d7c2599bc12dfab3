/** Other people's unpackers as oracles, and what of their work cannot be compared. */

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import {
  CommandFailedError,
  byteString,
  type RandomAccess,
  randomAccessOf,
  runCommand,
} from '../../base/index.ts';
import { TarFormatError } from '../../oci/index.ts';
import {
  type AllFacts,
  type FileFacts,
  factsOfDirectory,
  factsOfTree,
} from '../../../test/support/file-facts.ts';
import { buildTar } from '../../../test/support/tar-builder.ts';
import { unpackWithUmoci } from '../../../test/support/umoci.ts';
import { ApplyError, type DirectoryNode, type Node, type RootTree, walkTree } from '../index.ts';
import { cleanNames } from '../entry-path.ts';
import type { MutableDirectory } from '../mutable-tree.ts';
import { resolveDirectory } from '../resolve-path.ts';
import { apply, applyTars } from './apply.ts';
import type { Layer } from './random-layers.ts';

export interface Unpacker {
  /** Gives the directory that the layers make. Throws `CommandFailedError` where the program refuses them. */
  unpack(tars: readonly Buffer[], work: string): Promise<string>;
  /** Whether the directory's time is that of the moment of unpacking. */
  leavesTimeOpen(directory: DirectoryNode): boolean;
  /** Whether it does not do what we do with the node at all. */
  leavesOut(path: string, node: Node): boolean;
  /** Whether it leaves out an extended attribute that we keep. */
  leavesOutXattr(name: string): boolean;
}

export const umoci: Unpacker = {
  unpack: unpackWithUmoci,
  // It restores the time of a directory that it changes, but not where it makes a parent without an entry or hides
  // something deeper. The plain case has a test of its own.
  leavesTimeOpen: () => true,
  // It makes no parents for whiteouts; containerd, and so we, do.
  leavesOut: (_, node) => isEmptyShell(node),
  leavesOutXattr: () => false,
};

/** containerd's own code: the program that `go build` makes of `test/support/containerd-apply`. */
export function containerd(program: string): Unpacker {
  return {
    unpack: async (tars, work) => {
      const root = join(work, 'rootfs');
      mkdirSync(root);
      const files = tars.map((_, index) => join(work, `${index}.tar`));
      for (const [index, tar] of tars.entries()) writeFileSync(join(work, `${index}.tar`), tar);
      await runCommand(program, [root, ...files]);
      return root;
    },
    // It restores times at the end of a layer, of those directories that the layer has an entry for; what it leaves out
    // below changes the time too.
    leavesTimeOpen: (directory) =>
      isImplicit(directory) ||
      (directory.changedByLayers.at(-1) ?? 0) > directory.metadataLayer ||
      [...directory.entries.values()].some(isEmptyShell),
    // It leaves the root as its snapshotter made it, whatever entry a layer has for it; umoci, and so we, do not.
    // And it removes the parents made for one whiteout where another one of the layer comes to them.
    leavesOut: (path, node) => path === '' || isEmptyShell(node),
    leavesOutXattr: (name) => name.startsWith('trusted.'),
  };
}

/** How our side is looked at: the tree itself, or what is made of it. */
export type TreeView = (tree: RootTree, layers: readonly RandomAccess[]) => Promise<AllFacts>;

/** Holds our tree against the unpacker's directory, or our refusal against its. */
export async function checkAgainst(
  unpacker: Unpacker,
  layers: readonly Layer[],
  view: TreeView = factsOfTree,
): Promise<void> {
  const tars = layers.map((entries) => buildTar(entries));
  await checkTarsAgainst(unpacker, tars, view);
}

/** The same for layers that are tars already. Returns whether both took them. */
export async function checkTarsAgainst(
  unpacker: Unpacker,
  tars: readonly Buffer[],
  view: TreeView = factsOfTree,
): Promise<boolean> {
  const readers = tars.map((tar) => randomAccessOf(tar));
  const ours = await orRefusal(applyTars(readers), isOurRefusal);
  const work = mkdtempSync(join(tmpdir(), 'thaw-unpack-'));
  try {
    const theirs = await orRefusal(
      unpacker.unpack(tars, work),
      (thrown) => thrown instanceof CommandFailedError && thrown.exitStatus === 1,
    );
    if (ours === 'refused' || theirs === 'refused') {
      assert.equal(ours === 'refused' ? ours : 'taken', theirs === 'refused' ? theirs : 'taken');
      return false;
    }
    const adjust = adjustmentFor(unpacker, ours);
    assert.deepEqual(adjust(await view(ours, readers)), adjust(await factsOfDirectory(theirs)));
    return true;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Of an archive, or of what is in it. */
function isOurRefusal(thrown: unknown): boolean {
  return thrown instanceof ApplyError || thrown instanceof TarFormatError;
}

async function orRefusal<Value>(
  work: Promise<Value>,
  isRefusal: (thrown: unknown) => boolean,
): Promise<Value | 'refused'> {
  try {
    return await work;
  } catch (thrown) {
    if (isRefusal(thrown)) return 'refused';
    throw thrown;
  }
}

function adjustmentFor(unpacker: Unpacker, tree: RootTree): (facts: AllFacts) => object {
  const leftOut = new Set<string>();
  const timeOpen = new Set<string>();
  for (const { path, node } of walkTree(tree.root)) {
    if (unpacker.leavesOut(path, node)) leftOut.add(path);
    if (node.type === 'directory' && unpacker.leavesTimeOpen(node)) timeOpen.add(path);
  }
  const adjusted = (path: string, fact: FileFacts): object => ({
    ...fact,
    xattrs: withoutLeftOut(unpacker, fact.xattrs),
    mtimeNs: timeOpen.has(path) ? 'open' : fact.mtimeNs,
  });
  return (facts) =>
    Object.fromEntries(
      [...facts]
        .filter(([path]) => !leftOut.has(path))
        .map(([path, fact]) => [path, adjusted(path, fact)]),
    );
}

function withoutLeftOut(unpacker: Unpacker, xattrs: FileFacts['xattrs']): FileFacts['xattrs'] {
  return Object.fromEntries(
    Object.entries(xattrs).filter(([name]) => !unpacker.leavesOutXattr(name)),
  );
}

/** Whether no layer has an entry for the directory. `random-layers.ts` never makes one of 1970. */
function isImplicit(node: Node): boolean {
  return node.type === 'directory' && node.metadata.modified.seconds === 0;
}

/** Whether the node is there only for whiteouts in it. The root is always there. */
function isEmptyShell(node: Node): boolean {
  return (
    node.type === 'directory' &&
    isImplicit(node) &&
    [...node.entries.values()].every((below) => isEmptyShell(below))
  );
}

/**
 * Whether each directory entry is still there, with its time, at the end of its layer: only then does containerd set the time of
 * what the entry made, and not of something else that its path has come to mean.
 */
export async function keepsItsDirectories(layers: readonly Layer[]): Promise<boolean> {
  for (const [index, layer] of layers.entries()) {
    const tree = await apply(...layers.slice(0, index + 1)).catch(() => undefined);
    if (tree === undefined) return true;
    const root = tree.root as unknown as MutableDirectory;
    for (const { path, type, modified } of layer) {
      if (type !== 'directory') continue;
      const found = resolveDirectory(root, cleanNames(byteString(path.toString())));
      if (typeof found === 'string' || found.missing.length > 0) return false;
      if (!isDeepStrictEqual(found.chain.at(-1)?.metadata.modified, modified)) return false;
    }
  }
  return true;
}
