/**
 * What the layers of the corpus are made of. A recipe is data: its digest names what was made of it, so a changed recipe is
 * made anew.
 */

/** A base image's only layer, by mmdebstrap. */
export interface DebianRecipe {
  readonly kind: 'debian';
  readonly suite: 'bookworm' | 'trixie';
  /** Of mmdebstrap: which packages it begins with. */
  readonly variant: 'apt' | 'important';
  readonly include: readonly string[];
  /** Packages that shall not be there. */
  readonly without?: readonly string[];
  /** Packages whose newest version is left out: another version than otherwise is installed. */
  readonly older?: { readonly packages: readonly string[]; readonly newestFrom: DebianOrigin };
  /** Times of files are this at the latest (`SOURCE_DATE_EPOCH`), as reproducible builds have it. */
  readonly newestTimeSeconds?: number;
  /** Nothing is different but that it is made for itself, at another time. */
  readonly again?: true;
}

/** The archive's own name for itself, its `Label`. */
type DebianOrigin = 'Debian' | 'Debian-Security';

/** Layers one after the other over an image, as `RUN` and `COPY` make them. */
export interface StackRecipe {
  readonly kind: 'stack';
  /** A base's name; nothing for layers that do not depend on what lies below. */
  readonly over?: string;
  readonly steps: readonly Step[];
}

/** What makes one layer. */
export type Step =
  | { readonly apt: readonly string[] }
  /** The tree of `dependencies/package-lock.json`, installed anew; `bump` is one of its packages, `NAME@VERSION`. */
  | {
      readonly npm: 'dependencies';
      readonly bump?: string;
      readonly again?: true;
      /** A package deleted again. */
      readonly without?: string;
    }
  /** Node as this process runs it, with npm of this version. */
  | { readonly nodeWithNpm: string }
  /** Files of generated source code, by path from the root to size in bytes. */
  | { readonly sources: Readonly<Record<string, number>>; readonly seed: number };

export type Recipe = DebianRecipe | StackRecipe;

const basePackages = ['ca-certificates', 'openssl', 'tzdata'];

function bookworm(options: Partial<DebianRecipe> = {}): DebianRecipe {
  // With /usr merged from the start, as in Docker's images; or else all of Perl comes with usrmerge.
  const without = ['usrmerge'];
  const usual = { suite: 'bookworm', variant: 'apt', include: basePackages, without } as const;
  return { kind: 'debian', ...usual, ...options };
}

function older(newestFrom: DebianOrigin, ...packages: readonly string[]): Partial<DebianRecipe> {
  return { older: { packages, newestFrom } };
}

function stack(...steps: readonly Step[]): StackRecipe {
  return { kind: 'stack', steps };
}

function stackOver(over: string, ...steps: readonly Step[]): StackRecipe {
  return { kind: 'stack', over, steps };
}

function app(sources: Readonly<Record<string, number>>, seed: number): StackRecipe {
  return stack({ sources, seed });
}

const compiler = '@next/swc-linux-x64-gnu';

const clampedAt: Partial<DebianRecipe> = { newestTimeSeconds: 1_780_000_000 };

/** Small tools, each a layer. */
const tools =
  'bc curl file git htop iproute2 jq less make nano procps rsync sqlite3 strace tmux tree unzip vim-tiny wget';

/** Named for what sets each apart; `base-before-X` is `base` with another version of X, `base-again` is made at another time. */
export const recipes = {
  base: bookworm(),
  'base-before-openssl': bookworm(older('Debian-Security', 'openssl', 'libssl3')),
  'base-before-perl': bookworm(older('Debian-Security', 'perl-base')),
  'base-before-libc': bookworm(older('Debian', 'libc6', 'libc-bin')),
  'base-before-systemd': bookworm(older('Debian', 'libsystemd0', 'libudev1')),
  'base-before-tzdata': bookworm(older('Debian-Security', 'tzdata')),
  'base-again': bookworm({ again: true }),
  'base-clamped': bookworm(clampedAt),
  'base-clamped-before-openssl': bookworm({
    ...clampedAt,
    ...older('Debian-Security', 'openssl', 'libssl3'),
  }),
  'other-base': bookworm({ variant: 'important', include: ['git', 'build-essential'] }),
  trixie: { kind: 'debian', suite: 'trixie', variant: 'apt', include: ['ca-certificates'] },

  node: stack({ nodeWithNpm: '10.9.2' }),
  dependencies: stack({ npm: 'dependencies' }),
  'dependencies-again': stack({ npm: 'dependencies', again: true }),
  'dependencies-bumped-lodash': stack({ npm: 'dependencies', bump: 'lodash@4.17.21' }),
  'dependencies-bumped-axios': stack({ npm: 'dependencies', bump: 'axios@1.6.7' }),
  'dependencies-bumped-zod': stack({ npm: 'dependencies', bump: 'zod@3.22.5' }),
  'dependencies-bumped-express': stack({ npm: 'dependencies', bump: 'express@4.19.1' }),
  'dependencies-bumped-rxjs': stack({ npm: 'dependencies', bump: 'rxjs@7.8.0' }),
  /** Without the native compiler, two fifths of all bytes: most is small files. */
  'small-dependencies': stack({ npm: 'dependencies', without: compiler }),
  'small-dependencies-bumped-axios': stack({
    npm: 'dependencies',
    bump: 'axios@1.6.7',
    without: compiler,
  }),

  app: app({ 'app/index.js': 9000 }, 1),
  'app-same-size': app({ 'app/index.js': 9000 }, 2),
  'app-longer': app({ 'app/index.js': 9000 + 4096 }, 3),
  'app-elsewhere': app({ 'srv/service/main.js': 9000 }, 4),
  'app-files': app({ 'app/index.js': 9000, 'app/lib/a.js': 20_000, 'app/lib/b.js': 3000 }, 5),
  'app-bigger': app({ 'app/index.js': 9000, 'app/bundle.js': 3_000_000 }, 6),

  'apt-node': stackOver('base', { apt: ['nodejs'] }),
  'apt-node-over-other-base': stackOver('other-base', { apt: ['nodejs'] }),
  'apt-python': stackOver('base', { apt: ['python3-numpy', 'python3-pandas'] }),
  'apt-python-over-other-base': stackOver('other-base', {
    apt: ['python3-numpy', 'python3-pandas'],
  }),
  'apt-java': stackOver('base', { apt: ['openjdk-17-jre-headless'] }),
  tools: stackOver('base', ...tools.split(' ').map((name) => ({ apt: [name] }))),
} as const satisfies Readonly<Record<string, Recipe>>;

export type LayerName = keyof typeof recipes;

const nodeApp = ['node', 'dependencies', 'app'] as const;

/** Images by their layers' names, the lowest first. */
export const corpusImages = {
  node: ['base', ...nodeApp],
  'node-over-trixie': ['trixie', ...nodeApp],
  python: ['base', 'apt-python', 'app'],
  java: ['base', 'apt-java', 'app'],
  'twenty-layers': ['base', 'tools'],
} as const satisfies Readonly<Record<string, readonly LayerName[]>>;
