/**
 * The extensions that an image brings as programs: the files in its /opt/extensions, each by its name. Source: AWS Lambda
 * developer guide, "Augment Lambda functions using Lambda extensions"; which variables they get is read off AWS's published
 * emulator, `rapidcore/env/environment.go`.
 */

import { listInRoot } from '../root/root-files.ts';

export const extensionsDirectory = '/opt/extensions';

/** Of the runtime alone. */
const runtimeVariables: ReadonlySet<string> = new Set([
  'AWS_EXECUTION_ENV',
  'AWS_LAMBDA_LOG_GROUP_NAME',
  'AWS_LAMBDA_LOG_STREAM_NAME',
  'AWS_XRAY_CONTEXT_MISSING',
  'LAMBDA_RUNTIME_DIR',
  'LAMBDA_TASK_ROOT',
]);

/** In byte order of their names, so that they start in the same order every time. */
export function externalExtensions(rootPath: string): readonly string[] {
  const entries = listInRoot(rootPath, extensionsDirectory) ?? [];
  const names = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
  return names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** The function's own, without what begins with `_` and what is meant for the runtime. */
export function extensionVariables(env: Readonly<Record<string, string>>): Record<string, string> {
  const kept = Object.entries(env).filter(
    ([name]) => !name.startsWith('_') && !runtimeVariables.has(name),
  );
  return Object.fromEntries(kept);
}
