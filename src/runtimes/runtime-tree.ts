/** What a runtime's image is made of: files with their place in it, in layers. */

import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';

/** Something in an image. Paths are relative to its root; directories above are made where they are missing. */
export type RuntimeEntry = { readonly path: string } & (
  | { readonly kind: 'directory'; readonly mode?: number }
  | { readonly kind: 'text'; readonly text: string; readonly mode?: number }
  /** A file of this machine, wherever its links lead. */
  | {
      readonly kind: 'copy';
      readonly source: string;
      readonly mode?: number;
      /** Default: it has the time that all have. */
      readonly keepsTime?: boolean;
    }
  | { readonly kind: 'link'; readonly target: string }
);

/** An image before it is written. */
export interface RuntimeTree {
  /** Lowest first. Equal layers of two images are stored once. */
  readonly layers: readonly (readonly RuntimeEntry[])[];
  readonly entrypoint: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** What all runtimes have in their environment. Source: as for `knownRuntimes`. */
export const runtimeEnvironment = {
  LANG: 'en_US.UTF-8',
  TZ: ':UTC',
  PATH: '/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin',
  LD_LIBRARY_PATH:
    '/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib',
  LAMBDA_RUNTIME_DIR: '/var/runtime',
  LAMBDA_TASK_ROOT: '/var/task',
} as const;

/** Names what a tree is made of: another one when a file of the machine was changed. 16 hex digits. */
export async function treeTag(tree: RuntimeTree): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(tree));
  for (const entry of tree.layers.flat()) {
    if (entry.kind !== 'copy') continue;
    const { size, mtimeMs } = await stat(entry.source);
    hash.update(`${size} ${mtimeMs} `);
  }
  return hash.digest('hex').slice(0, 16);
}
