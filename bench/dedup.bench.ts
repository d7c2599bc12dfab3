/**
 * How much of an image's disk other images' disks already hold, on the corpus of real packages: what the layout is
 * for. Options: `--only thaw` leaves out the other writers; `--case TEXT` takes only rows with TEXT in group or name; `--why`
 * says what is not shared, by layer and use; `--chunks` lists each chunk that is not. Results: docs/benchmarks.md.
 */

import { parseArgs } from 'node:util';

import { corpusImages, type LayerName } from './corpus/index.ts';
import { cases, costGoals } from './dedup/cases.ts';
import { layerFiles } from './dedup/layered-image.ts';
import { measureImage, runCase, type CaseResult } from './dedup/measure.ts';
import { otherDisks } from './dedup/other-writers.ts';
import { attribute, contentInBlocks, sharedShare, type Sharing } from './dedup/sharing.ts';
import { megabytes, percent } from './dedup/words.ts';
import type { Report, Table } from './harness.ts';

function shares(sharing: Sharing | undefined): readonly string[] {
  if (sharing === undefined) return ['', ''];
  return [percent(sharedShare(sharing.chunks)), percent(sharedShare(sharing.storedBytes))];
}

function reached(isReached: boolean | undefined): string {
  if (isReached === undefined) return '';
  return isReached ? 'reached' : 'MISSED';
}

const caseColumns =
  '|new chunks|chunks|bytes||goal|mke2fs chunks|mke2fs bytes|kernel chunks|kernel bytes';

function caseTable(group: string, results: readonly CaseResult[]): Table {
  return {
    title: group,
    columns: caseColumns.split('|'),
    rows: results.map((result) => [
      result.case.name,
      `${result.chunks.unshared} of ${result.chunks.total}`,
      ...shares(result),
      reached(result.verdict.isReached),
      result.verdict.text,
      ...shares(result.others.get('mke2fs -d')),
      ...shares(result.others.get('kernel ext4')),
    ]),
  };
}

/** What is not shared, and why. */
function whyTable({ case: { group, name }, layerNames, uses }: CaseResult): Table {
  return {
    title: `Not shared: ${group}: ${name}`,
    columns: ['layer', 'use', 'stored', 'not shared', 'of it', 'really new'],
    rows: uses
      .filter(({ bytes }) => bytes.unshared > 0)
      .map(({ layer, kind, bytes, newBytes }) => [
        layerNames[layer] ?? '(none)',
        kind,
        megabytes(bytes.total),
        megabytes(bytes.unshared),
        percent(bytes.unshared / bytes.total),
        /file|inode/.test(kind) ? megabytes(newBytes) : '',
      ]),
  };
}

/** Each chunk that is not shared. */
function chunksTable({ case: { group, name }, layerNames, newChunks }: CaseResult): Table {
  return {
    title: `New chunks: ${group}: ${name}`,
    columns: ['chunk', 'KiB', 'new', 'layers', 'uses', 'files', 'first', 'last', 'new content'],
    rows: newChunks.map(({ index, storedBytes, newBytes, kinds, layers, paths, newPaths }) => [
      `${index}`,
      `${storedBytes / 1024}`,
      `${newBytes / 1024}`,
      layers.map((layer) => layerNames[layer] ?? '(none)').join(', '),
      kinds.join(', '),
      `${paths.length}`,
      paths.at(0) ?? '',
      paths.at(-1) ?? '',
      newPaths.slice(0, 5).join(', '),
    ]),
  };
}

async function costTable(withOthers: boolean): Promise<Table> {
  const rows: string[][] = [];
  for (const [name, layers] of Object.entries<readonly LayerName[]>(corpusImages)) {
    const image = await measureImage(layers);
    const { chunks, entries, layerNames } = image;
    const content = contentInBlocks(entries, [...layerNames.keys()]);
    const stored = chunks.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
    const over = stored / content - 1;
    const byKind = new Map<string, number>();
    for (const { kind, bytes } of attribute({ chunks: [], entries: [] }, image)) {
      byKind.set(kind, (byKind.get(kind) ?? 0) + bytes.total);
    }
    const parts = [...byKind]
      .filter(([kind]) => !kind.endsWith('file'))
      .map(([kind, bytes]) => `${kind} ${percent(bytes / content, 2)}`);
    rows.push([
      name,
      megabytes(content),
      `+${percent(over, 2)}`,
      reached(over <= costGoals.storedBytes),
      `${chunks.length}`,
      ...(withOthers ? await moreChunks(layers, chunks.length) : ['', '']),
      parts.join(', '),
    ]);
  }
  const limits = [costGoals.storedBytes, costGoals.chunks].map((goal) => percent(goal, 0));
  return {
    title: 'Cost for an image that shares nothing',
    columns: [
      '',
      'content in blocks',
      `stored, <= +${limits[0]}`,
      '',
      'chunks',
      `over mke2fs, <= +${limits[1]}`,
      '',
      'stored besides live files’ data',
    ],
    rows,
  };
}

async function moreChunks(
  layers: Parameters<typeof layerFiles>[0],
  count: number,
): Promise<string[]> {
  const { 'mke2fs -d': theirs } = await otherDisks(await layerFiles(layers), 0);
  const more = count / theirs.length - 1;
  return [`${percent(more)} over ${theirs.length}`, reached(more <= costGoals.chunks)];
}

export const report: Report = {
  title: 'Shares of chunks of 512 KiB and of their stored bytes that the first image has',
  run: async (args) => {
    const { values } = parseArgs({
      args: [...args],
      options: {
        only: { type: 'string' },
        why: { type: 'boolean', default: false },
        chunks: { type: 'boolean', default: false },
        case: { type: 'string', default: '' },
      },
    });
    const withOthers = values.only !== 'thaw';
    const results: CaseResult[] = [];
    for (const row of cases) {
      if (!`${row.group}: ${row.name}`.includes(values.case)) continue;
      results.push(await runCase(row, withOthers));
    }
    const groups = Map.groupBy(results, (result) => result.case.group);
    const tables = [...groups].map(([group, members]) => caseTable(group, members));
    if (values.case === '') tables.push(await costTable(withOthers));
    if (values.why) tables.push(...results.map(whyTable).filter(({ rows }) => rows.length > 0));
    if (values.chunks) tables.push(...results.map(chunksTable));
    return tables;
  },
};
