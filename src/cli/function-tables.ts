/** Functions, versions and aliases as people and programs read them. */

import { defined } from '../base/index.ts';
import type { AliasRecord, FunctionRecord } from '../catalog/index.ts';
import type { FunctionDescription } from '../functions/index.ts';
import { formatTable, formatTime, withoutControls } from './format.ts';

/** The documented, stable shape of a function in JSON: its record, with the image's id where there is one. */
export function functionJson(record: FunctionRecord): object {
  const { code } = record;
  return code.packageType === 'Zip'
    ? record
    : { ...record, ...defined({ manifestId: code.manifestId }) };
}

/** What a version runs, in a word. */
function codeOf({ code }: FunctionRecord): string {
  if (code.packageType === 'Zip') return code.runtime;
  return code.manifestId?.slice(0, 12) ?? withoutControls(code.imageUri);
}

/** `Active`, or what else there is to know. */
function stateOf({ state, lastUpdateStatus }: FunctionRecord): string {
  if (state !== 'Active' || lastUpdateStatus === 'Successful') return state;
  return `${state}, update ${lastUpdateStatus === 'Failed' ? 'failed' : 'in progress'}`;
}

export function functionTable(functions: readonly FunctionRecord[]): string {
  return formatTable(
    ['NAME', 'CODE', 'MEMORY', 'TIMEOUT', 'STATE'],
    functions.map((record) => [
      record.name,
      codeOf(record),
      `${record.memoryMb} MB`,
      `${record.timeoutSeconds} s`,
      stateOf(record),
    ]),
  );
}

export function versionTable(versions: readonly FunctionRecord[]): string {
  return formatTable(
    ['VERSION', 'CODE', 'STATE', 'UPDATED', 'DESCRIPTION'],
    versions.map((record) => [
      record.version,
      codeOf(record),
      stateOf(record),
      formatTime(record.updatedAtMs),
      oneLine(record.description),
    ]),
  );
}

export function aliasTable(aliases: readonly AliasRecord[]): string {
  return formatTable(
    ['ALIAS', 'VERSION', 'ALSO', 'DESCRIPTION'],
    aliases.map((alias) => [
      alias.name,
      alias.version,
      Object.entries(alias.additionalVersionWeights)
        .map(([version, weight]) => `${version}=${weight}`)
        .join(' '),
      oneLine(alias.description),
    ]),
  );
}

function oneLine(text: string): string {
  return withoutControls(text.replaceAll('\n', ' '));
}

/** A line for each thing worth knowing. Values of environment variables may be secrets and are not shown. */
export function functionDetails({ record, settings, alias }: FunctionDescription): string {
  const { code, webServer } = record;
  const overrides = defined({
    entrypoint: record.entrypoint,
    command: record.command,
    workdir: record.workingDir,
  });
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['name', record.name],
    ['alias', alias?.name],
    ['version', record.version],
    ['state', stateOf(record)],
    ['reason', (record.stateReason ?? record.lastUpdateReason)?.message],
    ['description', record.description === '' ? undefined : record.description],
    ['image', code.packageType === 'Image' ? code.imageUri : undefined],
    ['manifest', code.packageType === 'Image' ? code.manifestId : undefined],
    ['next image', record.nextImageUri],
    ['runtime', code.packageType === 'Zip' ? code.runtime : undefined],
    ['handler', code.packageType === 'Zip' ? code.handler : undefined],
    ['code', record.codeSha256],
    ['memory', `${record.memoryMb} MB`],
    ['timeout', `${record.timeoutSeconds} s`],
    ['/tmp', `${record.ephemeralStorageMb} MB`],
    ['network', record.network],
    ['web server', webServer && `port ${webServer.port}, ready at ${webServer.readyPath}`],
    ...Object.entries(overrides).map(([name, value]) => [name, JSON.stringify(value)] as const),
    ['variables', Object.keys(record.environment).sort().join(' ') || undefined],
    ['reserved', settings.reservedConcurrency?.toString()],
    ['revision', record.revisionId],
    ['updated', formatTime(record.updatedAtMs)],
  ];
  return lines
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name.padEnd(12)}${oneLine(value ?? '')}\n`)
    .join('');
}
