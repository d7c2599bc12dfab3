/**
 * Empirical distribution functions of latencies as an SVG: one panel a condition, one line a series. Times are logarithmic; shares
 * are spread by nines, so that 99 % is as far above 90 % as 99.9 % above 99 %: tails are what caches are judged by.
 */

import { chartColors, escapeXml } from './chart-parts.ts';

export interface EcdfSeries {
  readonly name: string;
  /** Milliseconds, in any order, at least one. Infinity: it never came, and the line ends below 100 %. */
  readonly samplesMs: readonly number[];
}

export interface EcdfPanel {
  readonly title: string;
  readonly series: readonly EcdfSeries[];
}

export interface EcdfChart {
  readonly title: string;
  /** Under what conditions; one line. */
  readonly note: string;
  readonly panels: readonly EcdfPanel[];
}

const dashes = ['', '7 3', '2 3', '9 3 2 3', '', '7 3'] as const;

const panelWidth = 360;
const panelHeight = 250;
const margin = { left: 56, right: 24, top: 30, bottom: 40 };
const headHeight = 74;
const panelsARow = 2;
const sharesShown = [0, 0.5, 0.9, 0.99, 0.999] as const;
const ninesMax = 3.8;
const pointsMax = 300;
/** Beyond it there is room for the label of each decade only. */
const wideRange = 1000;

interface Range {
  readonly least: number;
  readonly most: number;
}

function nines(share: number): number {
  return Math.min(-Math.log10(1 - share), ninesMax);
}

/** Whole steps of 1, 2 and 5 a decade around all samples. */
function timeRange(panels: readonly EcdfPanel[]): Range {
  const all = panels.flatMap(({ series }) =>
    series.flatMap(({ samplesMs }) => extremes(samplesMs)),
  );
  const least = Math.min(...all);
  const most = Math.max(...all);
  const steps = timeSteps({ least: least / 10, most: most * 10 });
  return {
    least: steps.findLast((step) => step <= least) ?? least,
    most: steps.find((step) => step >= most) ?? most,
  };
}

function extremes(samples: readonly number[]): readonly [number, number] {
  const sorted = samples.filter(Number.isFinite).sort((a, b) => a - b);
  return [sorted[0] ?? 1, sorted.at(-1) ?? 1];
}

function timeSteps({ least, most }: Range): readonly number[] {
  const steps: number[] = [];
  for (let decade = Math.floor(Math.log10(least)); decade <= Math.log10(most); decade += 1) {
    for (const digit of [1, 2, 5]) steps.push(Number(`${digit}e${decade}`));
  }
  return steps.filter((step) => step >= least && step <= most);
}

function timeLabel(ms: number): string {
  return ms >= 1000 ? `${ms / 1000} s` : ms < 1 ? `${ms * 1000} µs` : `${ms} ms`;
}

/** Steps of the function, thinned to what can be seen. */
function path({ samplesMs }: EcdfSeries, at: (ms: number, share: number) => string): string {
  const sorted = samplesMs.filter(Number.isFinite).sort((a, b) => a - b);
  const points: string[] = [];
  let lastNines = -1;
  for (const [index, ms] of sorted.entries()) {
    const share = index / samplesMs.length;
    const isShown = nines(share) - lastNines > ninesMax / pointsMax || index === sorted.length - 1;
    if (!isShown) continue;
    lastNines = nines(share);
    points.push(at(ms, share));
  }
  return `M${points.join('L')}`;
}

function panelSvg(panel: EcdfPanel, range: Range): string {
  const width = panelWidth - margin.left - margin.right;
  const height = panelHeight - margin.top - margin.bottom;
  const x = (ms: number): number =>
    (Math.log(ms / range.least) / Math.log(range.most / range.least)) * width;
  const y = (share: number): number => height - (nines(share) / ninesMax) * height;
  const at = (ms: number, share: number): string => `${x(ms).toFixed(1)} ${y(share).toFixed(1)}`;
  const labelled = range.most / range.least > wideRange ? /^1/ : /^[15]/;
  const times = timeSteps(range).map((ms) => {
    const label = labelled.test(ms.toExponential()) ? timeLabel(ms) : '';
    return (
      `<path class="grid" d="M${x(ms).toFixed(1)} 0V${height}"/>` +
      `<text class="tick" text-anchor="middle" x="${x(ms).toFixed(1)}" y="${height + 16}">${label}</text>`
    );
  });
  const shares = sharesShown.map(
    (share) =>
      `<path class="grid" d="M0 ${y(share).toFixed(1)}H${width}"/>` +
      `<text class="tick" text-anchor="end" x="-6" y="${(y(share) + 4).toFixed(1)}">${Number((share * 100).toFixed(1))} %</text>`,
  );
  const lines = panel.series.map(
    (series, index) =>
      `<path class="line" stroke="${chartColors[index % dashes.length]}" stroke-dasharray="${dashes[index % dashes.length]}" d="${path(series, at)}"/>`,
  );
  return [
    `<text class="panel" x="0" y="-10">${escapeXml(panel.title)}</text>`,
    ...times,
    ...shares,
    `<rect class="frame" width="${width}" height="${height}"/>`,
    ...lines,
  ].join('\n');
}

function legendSvg(panels: readonly EcdfPanel[]): string {
  const names = panels[0]?.series.map(({ name }) => name) ?? [];
  let x = margin.left;
  return names
    .map((name, index) => {
      const item =
        `<path class="line" stroke="${chartColors[index % dashes.length]}" stroke-dasharray="${dashes[index % dashes.length]}" d="M${x} 58h26"/>` +
        `<text class="tick" x="${x + 32}" y="62">${escapeXml(name)}</text>`;
      x += 32 + name.length * 6.5 + 22;
      return item;
    })
    .join('\n');
}

/** A whole document. The panels share their axes, and the first panel's series name the lines. */
export function ecdfChart({ title, note, panels }: EcdfChart): string {
  const range = timeRange(panels);
  const columns = Math.min(panels.length, panelsARow);
  const width = columns * panelWidth;
  const height = headHeight + Math.ceil(panels.length / columns) * panelHeight;
  const placed = panels.map((panel, index) => {
    const x = (index % columns) * panelWidth + margin.left;
    const y = headHeight + Math.floor(index / columns) * panelHeight + margin.top;
    return `<g transform="translate(${x} ${y})">\n${panelSvg(panel, range)}\n</g>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" role="img" aria-label="${escapeXml(title)}">
<style>
.title { font-size: 15px; font-weight: bold }
.note, .tick { font-size: 11px; fill: #444 }
.panel { font-size: 12px; font-weight: bold }
.grid { stroke: #ddd; fill: none }
.frame { stroke: #888; fill: none }
.line { fill: none; stroke-width: 1.8 }
</style>
<rect width="100%" height="100%" fill="#fff"/>
<text class="title" x="${margin.left}" y="22">${escapeXml(title)}</text>
<text class="note" x="${margin.left}" y="40">${escapeXml(note)}</text>
${legendSvg(panels)}
${placed.join('\n')}
</svg>
`;
}
