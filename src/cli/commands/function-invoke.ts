/** `thaw function invoke` */

import { readFile } from 'node:fs/promises';

import type { Command } from 'commander';

import type { InvokeReport } from '../../api/index.ts';
import { defined, errorMessage } from '../../base/index.ts';
import type { CliContext } from '../context.ts';
import { UsageError } from '../errors.ts';
import { formatBytes, formatMs } from '../format.ts';

interface InvokeOptions {
  readonly tenant: string;
  readonly json?: boolean;
  readonly payload: string;
  readonly qualifier?: string;
  readonly async?: boolean;
}

export function addInvokeCommand(
  add: (usage: string, description: string) => Command,
  context: CliContext,
): void {
  add('invoke <name>', 'invoke a function and print its response')
    .option('--payload <json>', 'the event: JSON text, or @FILE', '{}')
    .option('--qualifier <version-or-alias>', 'instead of what can still be changed')
    .option('--async', 'have it run later by "thaw serve"; prints the id of the request')
    .action((name: string, options: InvokeOptions) => invoke(context, name, options));
}

async function invoke(context: CliContext, name: string, options: InvokeOptions): Promise<void> {
  const worker = await context.worker();
  const payload = await readPayload(options.payload);
  const { tenant, qualifier, json } = options;
  const request = { tenant, name, payload, ...defined({ qualifier }) };
  if (options.async === true) {
    const accepted = await worker.invokeFunctionLater(request);
    context.print(accepted, json, () => `${accepted.requestId}\n`);
    return;
  }
  const { signal } = context;
  const report = await worker.invokeFunction(request, { signal });
  if (report.functionError !== undefined) context.cause = 'functionError';
  context.print(invokeJson(report), json, () => `${report.payload}\n`);
  if (json !== true) process.stderr.write(describeInvoke(report));
}

async function readPayload(payload: string): Promise<string> {
  if (!payload.startsWith('@')) return payload;
  const file = payload.slice(1);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (thrown) {
    throw new UsageError(`Cannot use the payload file "${file}": ${errorMessage(thrown)}`);
  }
}

/** The documented, stable shape of `function invoke --json`. */
function invokeJson(report: InvokeReport): object {
  const { payload, functionError, requestId, executedVersion, coldStart, timelineMs, reads } =
    report;
  return defined({
    response: jsonOrText(payload),
    functionError,
    requestId,
    executedVersion,
    coldStart,
    timelineMs,
    reads,
  });
}

function jsonOrText(payload: string): unknown {
  try {
    return JSON.parse(payload);
  } catch {
    return payload;
  }
}

function describeInvoke(report: InvokeReport): string {
  const { coldStart, timelineMs, reads } = report;
  const start = coldStart ? 'cold start' : 'warm';
  const read = `${reads.chunks} chunks, ${formatBytes(reads.bytes)} read`;
  return `${start}, ${formatMs(timelineMs.total)}, ${read}\n`;
}
