/**
 * Extensions of an image, from end to end: a shell script in /opt/extensions hears of every invocation and of the end, and what it
 * does wrong is told as Lambda tells it.
 */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';

import { missingHere } from '../../src/device/testing/worker-fixture.ts';
import { writeOciLayout } from '../support/oci-layout.ts';
import { needsPrograms } from '../support/programs.ts';
import { accessKeyOf, serveApiOf } from '../support/served-api.ts';
import { echoScript } from '../support/shell-image.ts';
import { buildTar, type TarBuilderEntry } from '../support/tar-builder.ts';
import { leftInKernel, thawFor } from '../support/thaw.ts';

import * as sdk from '@aws-sdk/client-lambda';

const skip = missingHere() || needsPrograms('busybox');
const Role = 'arn:aws:iam::000000000000:role/any';

/** Ends with status 3 when it hears of an invocation, if `FAULT` says so. */
const extension = `#!/bin/sh
url=http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension
echo "extension starts, handler '$_HANDLER', fault '$FAULT'"
wget -q -S -O /dev/null --header "Lambda-Extension-Name: listener" \\
  --post-data '{"events":["INVOKE","SHUTDOWN"]}' $url/register 2>/tmp/registered
id=$(grep -i lambda-extension-identifier /tmp/registered | sed 's/.*: *//' | tr -d '\\r')
while :; do
  event=$(wget -q -O - --header "Lambda-Extension-Identifier: $id" $url/event/next)
  echo "extension heard $event"
  case $event in *SHUTDOWN*) exit 0 ;; esac
  if [ "$FAULT" = invoke ]; then exit 3; fi
done
`;

/** Writes the image `echo`; its source. */
async function writeImage(dir: string): Promise<string> {
  const entries: TarBuilderEntry[] = 'bin/ dev/ etc/ proc/ sys/ app/ opt/ opt/extensions/'
    .split(' ')
    .map((path) => ({ path }));
  entries.push({ path: 'tmp/', mode: 0o1777 });
  entries.push({ path: 'bin/busybox', mode: 0o755, content: await readFile('/bin/busybox') });
  for (const name of ['sh', 'grep', 'sed', 'tr', 'wget']) {
    entries.push({ path: `bin/${name}`, type: 'symlink', linkTarget: 'busybox' });
  }
  entries.push({ path: 'app/main', mode: 0o755, content: `echo "runtime starts"\n${echoScript}` });
  entries.push({ path: 'opt/extensions/listener', mode: 0o755, content: extension });
  await writeOciLayout(dir, {
    layers: [{ tar: buildTar(entries) }],
    config: { Entrypoint: ['/bin/sh', '/app/main'], WorkingDir: '/app', Env: ['PATH=/bin'] },
    tag: 'echo',
  });
  return `oci:${dir}:echo`;
}

suite('extensions of an image', { skip }, () => {
  test('one hears of every invocation and of the end, and its failure is the function’s', async (t) => {
    const thaw = await thawFor(t);
    await thaw.json(
      'image',
      'convert',
      await writeImage(join(thaw.root, 'layout')),
      '--name',
      'echo',
    );
    const key = await accessKeyOf(thaw, 'default');
    await using api = await serveApiOf(thaw);
    const client = api.clientOf(key);
    const FunctionName = 'echo';
    await client.send(
      new sdk.CreateFunctionCommand({
        FunctionName,
        Role,
        PackageType: 'Image',
        Code: { ImageUri: 'echo' },
        Timeout: 300,
        Environment: { Variables: { FAULT: 'none' } },
      }),
    );
    await sdk.waitUntilFunctionActiveV2(
      { client, maxWaitTime: 500, minDelay: 1 },
      { FunctionName },
    );
    const invoke = async (payload: object) => {
      const Payload = Buffer.from(JSON.stringify(payload));
      const result = await client.send(new sdk.InvokeCommand({ FunctionName, Payload }));
      const value: unknown = JSON.parse(Buffer.from(result.Payload ?? []).toString());
      return { value, error: result.FunctionError };
    };
    for (const count of [1, 2]) {
      assert.deepEqual(await invoke({ count }), { value: { count }, error: undefined });
    }
    const change = new sdk.UpdateFunctionConfigurationCommand({
      FunctionName,
      Environment: { Variables: { FAULT: 'invoke' } },
    });
    await client.send(change);
    await sdk.waitUntilFunctionUpdatedV2(
      { client, maxWaitTime: 500, minDelay: 1 },
      { FunctionName },
    );
    const crashed: string[] = [];
    for (let times = 0; times < 2; times += 1) {
      const { value } = await invoke({ times });
      crashed.push((value as { errorType?: string }).errorType ?? 'none');
    }
    // The answer may be there before the extension has failed; what comes next is another instance then.
    assert(
      crashed.every((type) => ['Extension.Crash', 'none'].includes(type)),
      String(crashed),
    );
    assert.equal((await api.stop()).status, 0);
    assert.deepEqual(await leftInKernel(thaw.root), []);
    const log = (await thaw.run('function', 'logs', 'echo')).stdout;
    assert.match(log, /extension starts, handler '', fault 'none'[^]*runtime starts/);
    assert.equal(log.match(/extension heard .*"INVOKE"/g)?.length, 4);
    assert.match(log, /extension heard .*"SHUTDOWN".*"spindown"/);
  });
});
