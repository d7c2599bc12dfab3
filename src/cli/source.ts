/** Image sources as users type them, made independent of the directory they typed them in. */

import { resolve } from 'node:path';

const fileSources = /^(oci|oci-archive|docker-archive):(.+)$/s;

/** The source with its path made absolute; anything without a path is returned as it is. */
export function absoluteSource(source: string, directory: string): string {
  const [, kind, path] = fileSources.exec(source) ?? [];
  return kind === undefined || path === undefined ? source : `${kind}:${resolve(directory, path)}`;
}

/** True for what `image convert` takes, as against the id or name of a published image. */
export function isImageSource(text: string): boolean {
  return fileSources.test(text) || text.startsWith('docker://');
}
