/** What charts as SVG have in common here: a frame, a logarithmic axis of times, a legend. */

/** Told apart with every common colour blindness. Source: Okabe and Ito, "Color Universal Design". */
export const chartColors = [
  '#0072B2',
  '#D55E00',
  '#009E73',
  '#CC79A7',
  '#000000',
  '#E69F00',
  '#56B4E9',
  '#999999',
] as const;

export interface LegendItem {
  readonly name: string;
  readonly color: string;
  readonly isDashed?: boolean;
}

export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

export function timeLabel(ms: number): string {
  return ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`;
}

/** Steps of 1, 2 and 5 a decade around all values, which are positive. */
export function timeSteps(values: readonly number[]): readonly number[] {
  const least = Math.min(...values);
  const most = Math.max(...values);
  const steps: number[] = [];
  for (
    let decade = Math.floor(Math.log10(least));
    decade <= Math.ceil(Math.log10(most));
    decade += 1
  ) {
    for (const digit of [1, 2, 5]) steps.push(Number(`${digit}e${decade}`));
  }
  const first = Math.max(
    steps.findLastIndex((step) => step <= least),
    0,
  );
  const last = steps.findIndex((step) => step >= most);
  return steps.slice(first, last + 1);
}

const itemWidth = 22;

/** In rows of at most `width`; how high it is comes with it. */
export function legend(
  items: readonly LegendItem[],
  { x, y, width }: { readonly x: number; readonly y: number; readonly width: number },
): { readonly svg: string; readonly height: number } {
  const rowHeight = 18;
  let left = 0;
  let row = 0;
  const parts = items.map(({ name, color, isDashed = false }) => {
    const size = itemWidth + 8 + name.length * 6.2 + 16;
    if (left > 0 && left + size > width) {
      left = 0;
      row += 1;
    }
    const at = x + left;
    const line = y + row * rowHeight;
    left += size;
    const dash = isDashed ? ' stroke-dasharray="5 3"' : '';
    return (
      `<path d="M${at} ${line}h${itemWidth}" stroke="${color}" stroke-width="3"${dash}/>` +
      `<text class="tick" x="${at + itemWidth + 6}" y="${line + 4}">${escapeXml(name)}</text>`
    );
  });
  return { svg: parts.join('\n'), height: (row + 1) * rowHeight };
}

/** A whole document around `body`. */
export function chartDocument(
  head: { readonly title: string; readonly note: string },
  { width, height }: { readonly width: number; readonly height: number },
  body: string,
): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" role="img" aria-label="${escapeXml(head.title)}">
<style>
.title { font-size: 15px; font-weight: bold }
.note, .tick { font-size: 11px; fill: #444 }
.grid { stroke: #ddd; fill: none }
.line { fill: none; stroke-width: 1.6 }
</style>
<rect width="100%" height="100%" fill="#fff"/>
<text class="title" x="56" y="22">${escapeXml(head.title)}</text>
<text class="note" x="56" y="40">${escapeXml(head.note)}</text>
${body}
</svg>
`;
}
