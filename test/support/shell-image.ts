/** Images of two megabytes that start fast: busybox and a shell script. Needs busybox-static. */

import { readFile } from 'node:fs/promises';

import { writeOciLayout } from './oci-layout.ts';
import { buildTar, type TarBuilderEntry } from './tar-builder.ts';

const busyboxPath = '/bin/busybox';
const applets = ['sh', 'cat', 'grep', 'sed', 'sleep', 'tr', 'wget'];

/** Answers every event with itself, by the Runtime API. */
export const echoScript = `
url=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
while wget -q -S -O /tmp/event $url/next 2>/tmp/headers; do
  id=$(grep -i lambda-runtime-aws-request-id /tmp/headers | sed 's/.*: *//' | tr -d '\\r')
  wget -q -O /dev/null --post-file /tmp/event $url/$id/response
done
`;

/**
 * Writes the image `tag` into the OCI layout at `dir`; its source. It runs `script` as its entry point, and has `files`, by
 * path, besides.
 */
export async function writeShellImage(
  dir: string,
  tag: string,
  script: string,
  files: Readonly<Record<string, Uint8Array>> = {},
): Promise<string> {
  const base: TarBuilderEntry[] = ['bin/', 'dev/', 'etc/', 'proc/', 'sys/', 'app/'].map((path) => ({
    path,
  }));
  base.push({ path: 'tmp/', mode: 0o1777 });
  base.push({ path: 'bin/busybox', mode: 0o755, content: await readFile(busyboxPath) });
  for (const name of applets) {
    base.push({ path: `bin/${name}`, type: 'symlink', linkTarget: 'busybox' });
  }
  const app: TarBuilderEntry[] = [{ path: 'app/main', mode: 0o755, content: script }];
  for (const [path, content] of Object.entries(files)) app.push({ path, content, mode: 0o755 });
  await writeOciLayout(dir, {
    layers: [{ tar: buildTar(base) }, { tar: buildTar(app) }],
    config: { Entrypoint: ['/bin/sh', '/app/main'], WorkingDir: '/app', Env: ['PATH=/bin'] },
    tag,
  });
  return `oci:${dir}:${tag}`;
}
