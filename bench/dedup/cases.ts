/** The rows of the benchmark: which image is there already, which one comes, and what is asked of their disks. */

import type { LayerName } from '../corpus/index.ts';

/** Shares are of stored bytes unless said otherwise; numbers from 0 to 1. */
export type Goal =
  /** At most as many chunks that are new as the given layers' content fills, and `more`. */
  | { readonly kind: 'new chunks'; readonly ofLayers: readonly LayerName[]; readonly more: number }
  /** Of all chunks, and of all stored bytes. */
  | { readonly kind: 'everything'; readonly atLeast: number }
  | { readonly kind: 'layers'; readonly goals: readonly LayerGoal[] }
  /** Of the bytes of files that both images have. */
  | {
      readonly kind: 'equal files';
      readonly ofLayers?: readonly LayerName[];
      readonly atLeast: number;
    }
  /** Printed for comparison. */
  | { readonly kind: 'none' };

export interface LayerGoal {
  readonly name: string;
  readonly layers: readonly LayerName[];
  readonly atLeast: number;
}

export interface Case {
  readonly group: string;
  readonly name: string;
  /** Layers, the lowest first. */
  readonly first: readonly LayerName[];
  readonly second: readonly LayerName[];
  readonly goal: Goal;
}

const app: readonly LayerName[] = ['node', 'dependencies', 'app'];
const nodeImage: readonly LayerName[] = ['base', ...app];

function lowerLayersWith(top: LayerName): readonly LayerName[] {
  return ['base', 'node', 'dependencies', top];
}

const sameAgain: Case = {
  group: 'The same image again',
  name: 'base, node, dependencies, app',
  first: nodeImage,
  second: nodeImage,
  goal: { kind: 'new chunks', ofLayers: [], more: 0 },
};

const otherApps = (
  [
    ['app-same-size', 'of the same size'],
    ['app-longer', 'one block longer'],
    ['app-elsewhere', 'at another path'],
    ['app-files', 'of several files'],
    ['app-bigger', 'of 3 MB'],
  ] as const
).map(([top, name]): Case => {
  return {
    group: 'Another app on the same lower layers',
    name,
    first: nodeImage,
    second: lowerLayersWith(top),
    goal: { kind: 'new chunks', ofLayers: [top], more: 2 },
  };
});

const otherOrders = (
  [
    ['runtime above dependencies', ['base', 'dependencies', 'node', 'app']],
    ['app below', ['base', 'app', 'node', 'dependencies']],
    ['base on top', ['node', 'dependencies', 'app', 'base']],
  ] as const
).map(([name, second]): Case => {
  return {
    group: 'The same layers in another order',
    name,
    first: nodeImage,
    second,
    goal: { kind: 'everything', atLeast: 0.99 },
  };
});

const upgrades = (
  [
    ['base-before-openssl', 'base', 'openssl, libssl3'],
    ['base-before-perl', 'base', 'perl-base'],
    ['base-before-tzdata', 'base', 'tzdata'],
    ['base-before-systemd', 'base', 'libsystemd0, libudev1'],
    ['base-before-libc', 'base', 'libc6, libc-bin'],
    ['base-clamped-before-openssl', 'base-clamped', 'openssl, libssl3; times clamped'],
    ['base-again', 'base', 'nothing, made again'],
  ] as const
).map(([before, after, name]): Case => {
  return {
    group: 'Base with one package upgraded, upper layers the same',
    name,
    first: [before, ...app],
    second: [after, ...app],
    goal: {
      kind: 'layers',
      goals: [
        { name: 'upper', layers: app, atLeast: 0.99 },
        { name: 'base', layers: [after], atLeast: 0.95 },
      ],
    },
  };
});

const bumps = (
  [
    ['dependencies-bumped-lodash', 'lodash'],
    ['dependencies-bumped-axios', 'axios'],
    ['dependencies-bumped-zod', 'zod'],
    ['dependencies-bumped-express', 'express'],
    ['dependencies-bumped-rxjs', 'rxjs'],
    ['dependencies-again', 'nothing, installed again'],
  ] as const
).map(([layer, name]): Case => {
  return {
    group: 'Dependency layer rebuilt with one package bumped',
    name,
    first: nodeImage,
    second: ['base', 'node', layer, 'app'],
    goal: { kind: 'layers', goals: [{ name: 'layer', layers: [layer], atLeast: 0.97 }] },
  };
});

const bumpOfSmall: Case = {
  group: 'Dependency layer rebuilt with one package bumped',
  name: 'axios; without its largest file',
  first: ['base', 'node', 'small-dependencies', 'app'],
  second: ['base', 'node', 'small-dependencies-bumped-axios', 'app'],
  goal: {
    kind: 'layers',
    goals: [{ name: 'layer', layers: ['small-dependencies-bumped-axios'], atLeast: 0.97 }],
  },
};

const otherBases = (
  [
    ['apt-node', 'apt-node-over-other-base', 'nodejs'],
    ['apt-python', 'apt-python-over-other-base', 'python3, numpy, pandas'],
  ] as const
).flatMap(([layer, otherLayer, name]): Case[] => {
  const both = {
    group: 'Same packages, unrelated base',
    first: ['base', layer],
    second: ['other-base', otherLayer],
  } as const;
  return [
    { ...both, name, goal: { kind: 'equal files', ofLayers: [otherLayer], atLeast: 0.95 } },
    { ...both, name: `${name}; bases too`, goal: { kind: 'equal files', atLeast: 0.95 } },
  ];
});

const otherRelease: Case = {
  group: 'Same packages, unrelated base',
  name: 'node, dependencies, app over trixie',
  first: nodeImage,
  second: ['trixie', ...app],
  goal: { kind: 'equal files', ofLayers: app, atLeast: 0.95 },
};

const lessOfTheSame: readonly Case[] = [
  {
    group: 'Others',
    name: 'base and node alone',
    first: nodeImage,
    second: ['base', 'node'],
    goal: { kind: 'none' },
  },
  {
    group: 'Others',
    name: 'base and 20 layers of tools, after base and node',
    first: nodeImage,
    second: ['base', 'tools'],
    goal: { kind: 'layers', goals: [{ name: 'base', layers: ['base'], atLeast: 0.99 }] },
  },
  {
    group: 'Others',
    name: '20 layers of tools over base and node, after base and tools',
    first: ['base', 'tools'],
    second: ['base', 'node', 'tools'],
    goal: { kind: 'layers', goals: [{ name: 'tools', layers: ['tools'], atLeast: 0.99 }] },
  },
];

export const cases: readonly Case[] = [
  sameAgain,
  ...otherApps,
  ...otherOrders,
  ...upgrades,
  ...bumps,
  bumpOfSmall,
  ...otherBases,
  otherRelease,
  ...lessOfTheSame,
];

/** Cost limits for an image that shares nothing, as shares above content in blocks and above the chunks of `mke2fs -d`. */
export const costGoals = { storedBytes: 0.03, chunks: 0.15 } as const;
