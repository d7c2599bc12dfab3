import { type ByteString, compareStrings } from '../base/index.ts';
import type { DirectoryNode, Node } from './tree.ts';

export interface TreePath {
  /** From the root, without a leading slash; empty for the root itself. */
  readonly path: ByteString;
  readonly node: Node;
}

/**
 * Everything in the tree, in byte order of whole paths: `a`, `a.b`, `a/c`. Directories come before what they hold; a
 * node with several names comes once for each.
 */
export function* walkTree(root: DirectoryNode): Generator<TreePath> {
  const start = { path: '' as ByteString, node: root };
  // The next step lies on top.
  const pending: Step[] = [
    { ...start, isDescent: true },
    { ...start, isDescent: false },
  ];
  for (let step = pending.pop(); step !== undefined; step = pending.pop()) {
    const { path, node, isDescent } = step;
    if (!isDescent) yield { path, node };
    else if (node.type === 'directory') {
      for (const below of stepsInside(path, node).toReversed()) pending.push(below);
    }
  }
}

interface Step extends TreePath {
  /** Whether what lies inside comes now, or the directory's own entry. */
  readonly isDescent: boolean;
}

/** What a directory holds lies where its name with a slash does: `a.b` sorts between `a` and `a/`. */
function stepsInside(path: ByteString, directory: DirectoryNode): Step[] {
  const steps: (Step & { readonly key: string })[] = [];
  for (const [name, node] of directory.entries) {
    const inside = (path === '' ? name : `${path}/${name}`) as ByteString;
    steps.push({ key: name, path: inside, node, isDescent: false });
    if (node.type === 'directory') {
      steps.push({ key: `${name}/`, path: inside, node, isDescent: true });
    }
  }
  return steps.sort((a, b) => compareStrings(a.key, b.key));
}
