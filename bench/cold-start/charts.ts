/** The seed's two charts: round trips over time, a line for each function, and medians as bars, by the size of the packages. */

import {
  chartColors,
  chartDocument,
  legend,
  timeLabel,
  timeSteps,
  type LegendItem,
} from '../support/chart-parts.ts';
import { apps, packageSizesMb, type PackagesMb } from './apps.ts';
import type { Cells } from './cells.ts';
import type { Sample } from './samples.ts';
import { systems, type SystemId } from './systems.ts';

const width = 900;
const margin = { left: 56, right: 16, bottom: 40 };
const plotHeight = 320;
const headHeight = 54;

interface Plot {
  readonly top: number;
  readonly y: (ms: number) => number;
  readonly grid: string;
}

/** The plot's axis of times below a head and a legend of so much height. */
function plotFor(values: readonly number[], legendHeight: number): Plot {
  const steps = timeSteps(values);
  const least = steps[0] ?? 1;
  const most = steps.at(-1) ?? 10;
  const top = headHeight + legendHeight + 8;
  const share = (ms: number): number => Math.log(ms / least) / Math.log(most / least);
  const y = (ms: number): number => top + plotHeight * (1 - share(ms));
  const lines = steps.map(
    (step) =>
      `<path class="grid" d="M${margin.left} ${y(step).toFixed(1)}H${width - margin.right}"/>` +
      `<text class="tick" text-anchor="end" x="${margin.left - 6}" y="${(y(step) + 4).toFixed(1)}">${timeLabel(step)}</text>`,
  );
  return { top, y, grid: lines.join('\n') };
}

function drawn(
  head: { readonly title: string; readonly note: string },
  items: readonly LegendItem[],
  values: readonly number[],
  draw: (plot: Plot) => string,
): string {
  const place = { x: margin.left, y: headHeight + 6, width: width - margin.left - margin.right };
  const { svg, height: legendHeight } = legend(items, place);
  const plot = plotFor(values, legendHeight);
  const height = plot.top + plotHeight + margin.bottom;
  return chartDocument(head, { width, height }, `${svg}\n${plot.grid}\n${draw(plot)}`);
}

interface Line extends LegendItem {
  readonly timesMs: readonly number[];
}

/** Each forced cold start of Node's functions as an image (zone warm) and as a zip, in the order of the run. */
export function linesChart(samples: readonly Sample[], link: string): string | undefined {
  const lines: Line[] = [];
  for (const [at, mb] of packageSizesMb.entries()) {
    for (const [system, what] of [
      ['thaw-zone', 'image'],
      ['zip-zone', 'zip'],
    ] as const) {
      const own = samples.filter(
        (sample) => sample.link === link && sample.app === `node-${mb}` && sample.system === system,
      );
      const timesMs = own.map(({ elapsedMs }) => elapsedMs);
      const color = chartColors[at % chartColors.length] ?? '#000';
      const isDashed = what === 'zip';
      if (timesMs.length > 0) lines.push({ name: `${mb} MB ${what}`, color, isDashed, timesMs });
    }
  }
  const all = lines.flatMap(({ timesMs }) => timesMs);
  if (all.length === 0) return undefined;
  const count = Math.max(...lines.map(({ timesMs }) => timesMs.length));
  const x = (index: number): number =>
    margin.left + ((width - margin.left - margin.right) * (index + 0.5)) / count;
  const head = {
    title: `Round trip of forced cold starts over ${link}`,
    note: 'Node with npm packages that it does not import; zone warm; in the order of the run, one start after the other',
  };
  return drawn(head, lines, all, ({ y, top }) => {
    const paths = lines.map(({ timesMs, color, isDashed }) => {
      const points = timesMs.map((ms, index) => `${x(index).toFixed(1)} ${y(ms).toFixed(1)}`);
      const dash = isDashed === true ? ' stroke-dasharray="5 3"' : '';
      return `<path class="line" stroke="${color}"${dash} d="M${points.join('L')}"/>`;
    });
    const label = `<text class="tick" text-anchor="middle" x="${width / 2}" y="${top + plotHeight + 28}">cold starts 1 to ${count}</text>`;
    return [...paths, label].join('\n');
  });
}

const barSystems: readonly SystemId[] = [
  'containerd',
  'stargz',
  'stargz-optimised',
  'zip-zone',
  'thaw-origin',
  'thaw-zone',
  'overlayfs',
];

function appOf(mb: PackagesMb, isImported: boolean): string | undefined {
  return apps.find(({ packages }) => packages?.mb === mb && packages.isImported === isImported)?.id;
}

/** Medians by size: a group of bars a size, a bar a system. */
export function barsChart(cells: Cells, link: string, isImported: boolean): string | undefined {
  const shown = barSystems.filter((system) =>
    cells.all.some((cell) => cell.system === system && cell.link === link),
  );
  const groups = packageSizesMb.flatMap((mb) => {
    const app = appOf(mb, isImported);
    if (app === undefined) return [];
    const bars = shown.map((system) => cells.find(link, app, system)?.p50Ms);
    return bars.some((bar) => bar !== undefined) ? [{ mb, bars }] : [];
  });
  const all = groups.flatMap(({ bars }) => bars.filter((bar) => bar !== undefined));
  if (all.length === 0) return undefined;
  const items = shown.map((system, at) => {
    return { name: systems[system], color: chartColors[at % chartColors.length] ?? '#000' };
  });
  const groupWidth = (width - margin.left - margin.right) / groups.length;
  const barWidth = (groupWidth * 0.84) / shown.length;
  const head = {
    title: `Median round trip of cold starts over ${link}`,
    note: `Node with npm packages that it ${isImported ? 'imports at its start' : 'does not import'}, by their size; the axis is logarithmic`,
  };
  return drawn(head, items, all, ({ y, top }) => {
    const bottom = top + plotHeight;
    const parts = groups.flatMap(({ mb, bars }, group) => {
      const left = margin.left + group * groupWidth + groupWidth * 0.08;
      const drawnBars = bars.map((ms, at) => {
        if (ms === undefined) return '';
        const size = `width="${(barWidth * 0.9).toFixed(1)}" height="${(bottom - y(ms)).toFixed(1)}"`;
        const corner = `x="${(left + at * barWidth).toFixed(1)}" y="${y(ms).toFixed(1)}"`;
        return `<rect ${corner} ${size} fill="${items[at]?.color ?? ''}"><title>${ms.toFixed(0)} ms</title></rect>`;
      });
      const middle = margin.left + (group + 0.5) * groupWidth;
      const label = `<text class="tick" text-anchor="middle" x="${middle.toFixed(1)}" y="${bottom + 18}">${mb} MB</text>`;
      return [...drawnBars, label];
    });
    return parts.join('\n');
  });
}
