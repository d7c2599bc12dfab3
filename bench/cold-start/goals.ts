/**
 * The goals of cold starts and by how much each is reached or missed. *Added time* is what a start takes beyond one from a page-warm
 * overlayfs; of containerd's and stargz's starts, beyond containerd's own warm start, which is their favour.
 */

import type { Table } from '../harness.ts';
import { apps, type App } from './apps.ts';
import type { Cell, Cells } from './cells.ts';
import type { SystemId } from './systems.ts';

interface Goal {
  readonly title: string;
  /** Over links with this in their name; default all. */
  readonly link?: string;
  /** At most, of what `ratio` gives. */
  readonly most: number;
  /** Undefined where it does not apply or something has not been measured. */
  readonly ratio: (of: GoalCells) => number | undefined;
}

/** What there is of one app over one link. */
class GoalCells {
  readonly app: App;
  readonly #cells: Cells;
  readonly #link: string;

  constructor(cells: Cells, link: string, app: App) {
    this.app = app;
    this.#cells = cells;
    this.#link = link;
  }

  p50Ms(system: SystemId, app: string = this.app.id): number {
    return this.#cells.find(this.#link, app, system)?.p50Ms ?? NaN;
  }

  addedMs(system: SystemId): number {
    const isTheirs = system.startsWith('containerd') || system.startsWith('stargz');
    const base = isTheirs ? 'containerd-warm' : 'overlayfs';
    return this.p50Ms(system) - this.p50Ms(base);
  }
}

function defined(ratio: number): number | undefined {
  return Number.isNaN(ratio) ? undefined : ratio;
}

export const goals: readonly Goal[] = [
  {
    title: 'zone warm: first response / warm overlayfs start',
    link: '10 Gbit/s',
    most: 1.25,
    ratio: (of) => defined(of.p50Ms('thaw-zone') / of.p50Ms('overlayfs')),
  },
  {
    title: 'zone warm: added time / what pull, unpack and run add',
    link: '10 Gbit/s',
    most: 1 / 15,
    ratio: (of) => defined(of.addedMs('thaw-zone') / of.addedMs('containerd')),
  },
  {
    title: 'zone warm: added time / what optimised eStargz adds',
    link: '10 Gbit/s',
    most: 1 / 3,
    ratio: (of) => defined(of.addedMs('thaw-zone') / of.addedMs('stargz-optimised')),
  },
  {
    title: 'origin only: added time / zone warm',
    most: 2,
    ratio: (of) => defined(of.addedMs('thaw-origin') / of.addedMs('thaw-zone')),
  },
  {
    title: 'zone warm, from 10 MB up: image / zip',
    most: 1,
    ratio: (of) => {
      const isLarge = (of.app.packages?.mb ?? 0) >= 10;
      return isLarge ? defined(of.p50Ms('thaw-zone') / of.p50Ms('zip-zone')) : undefined;
    },
  },
  {
    title: 'zone warm, not imported: first response / without packages',
    most: 1.05,
    ratio: (of) => {
      const { packages } = of.app;
      if (packages === undefined || packages.isImported || packages.mb !== 250) return undefined;
      return defined(of.p50Ms('thaw-zone') / of.p50Ms('thaw-zone', 'node-0'));
    },
  },
];

function phrase({ most }: Goal, ratio: number): string {
  if (ratio <= most) return 'reached';
  return `missed by ${(ratio / most).toFixed(ratio / most < 10 ? 1 : 0)}x`;
}

/** The longest phases of a cell, with what was read meanwhile. */
function whereTo(cell: Cell | undefined): string {
  if (cell === undefined) return '';
  const phases = Object.entries(cell.phasesMs)
    .filter(([name, ms]) => name !== 'total' && ms >= cell.p50Ms / 20)
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, 3)
    .map(([name, ms]) => `${name} ${ms.toFixed(0)}`);
  const chunks = cell.chunks === undefined ? [] : [`${cell.chunks} chunks`];
  return [...phases, ...chunks].join(', ');
}

export function goalTable(cells: Cells): Table {
  const rows: string[][] = [];
  for (const goal of goals) {
    for (const link of cells.links.filter((name) => name.startsWith(goal.link ?? ''))) {
      for (const app of apps) {
        const ratio = goal.ratio(new GoalCells(cells, link, app));
        if (ratio === undefined) continue;
        const missed = ratio > goal.most;
        rows.push([
          goal.title,
          link,
          app.title,
          goal.most.toFixed(2),
          ratio.toFixed(2),
          phrase(goal, ratio),
          missed ? whereTo(cells.find(link, app.id, 'thaw-zone')) : '',
        ]);
      }
    }
  }
  return {
    title: 'Goals, of medians',
    columns: ['goal', 'link', 'function', 'at most', 'measured', '', 'zone warm, ms'],
    rows,
  };
}
