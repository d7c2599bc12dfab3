/** What lives longer than an invoke, from end to end: extensions between invokes, and events when the server is killed. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import * as sdk from '@aws-sdk/client-lambda';

import { missingHere } from '../../src/device/testing/worker-fixture.ts';
import { needsPrograms } from '../support/programs.ts';
import { serveApiOf, type ServedApi } from '../support/served-api.ts';
import { echoScript, writeShellImage } from '../support/shell-image.ts';
import { thawFor, type Thaw } from '../support/thaw.ts';

const skip = missingHere() || needsPrograms('busybox');
const anybody = { accessKeyId: 'any', secretAccessKey: 'any' } as const;

/** Says what it sees, and works on for a while after the answer. */
const watcher = `#!/bin/sh
api=http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension
wget -q -S -O /tmp/registered --header 'Lambda-Extension-Name: watcher' \\
  --post-data '{"events":["INVOKE","SHUTDOWN"]}' $api/register 2>/tmp/registered-headers
id=$(grep -i lambda-extension-identifier /tmp/registered-headers | sed 's/.*: *//' | tr -d '\\r')
while wget -q -O /tmp/seen --header "Lambda-Extension-Identifier: $id" $api/event/next; do
  type=$(sed 's/.*"eventType" *: *"\\([A-Z]*\\)".*/\\1/' /tmp/seen)
  echo "watcher saw $type"
  if [ "$type" = SHUTDOWN ]; then exit 0; fi
  sleep 0.2
  echo "watcher is done"
done
`;

/** Says what it gets, before it answers; what is endless it never does. */
const tellingScript = echoScript.replace(
  '  id=',
  '  echo "got $(cat /tmp/event)"; case "$(cat /tmp/event)" in *endless*) sleep 1000;; esac\n  id=',
);

async function untilLogged(thaw: Thaw, name: string, pattern: RegExp): Promise<string> {
  for (;;) {
    const { stdout } = await thaw.run('function', 'logs', name);
    if (pattern.test(stdout)) return stdout;
    await delay(50);
  }
}

async function createFunction(api: ServedApi, name: string): Promise<sdk.LambdaClient> {
  const client = api.clientOf(anybody);
  await client.send(
    new sdk.CreateFunctionCommand({
      FunctionName: name,
      Role: 'arn:aws:iam::000000000000:role/any',
      PackageType: 'Image',
      Code: { ImageUri: name },
      Timeout: 900,
    }),
  );
  return client;
}

suite('functions between invokes', { skip }, () => {
  test('an extension sees every invoke, works on after the answer, and is told of the end', async (t) => {
    const thaw = await thawFor(t);
    const image = await writeShellImage(join(thaw.root, 'layout'), 'watched', echoScript, {
      'opt/extensions/watcher': Buffer.from(watcher),
    });
    await thaw.json('image', 'convert', image, '--name', 'watched');
    await using api = await serveApiOf(thaw, '--insecure-no-auth');
    const client = await createFunction(api, 'watched');
    const invoke = new sdk.InvokeCommand({ FunctionName: 'watched', Payload: Buffer.from('{}') });
    assert.equal(Buffer.from((await client.send(invoke)).Payload ?? []).toString(), '{}');
    await untilLogged(thaw, 'watched', /watcher saw INVOKE[^]*watcher is done/);
    assert.equal(Buffer.from((await client.send(invoke)).Payload ?? []).toString(), '{}');
    const log = await untilLogged(thaw, 'watched', /(watcher is done[^]*){2}/);
    assert.equal(log.match(/Init Duration/g)?.length, 1, 'the second invoke was warm');
    await thaw.json('cache', 'drop');
    await untilLogged(thaw, 'watched', /watcher saw SHUTDOWN/);
  });

  test('an event that a killed server was running, and one that waited, are run by the next', async (t) => {
    const thaw = await thawFor(t);
    const image = await writeShellImage(join(thaw.root, 'layout'), 'telling', tellingScript);
    await thaw.json('image', 'convert', image, '--name', 'telling');
    const events = ['endless', 'quick'].map((word) => ({ word }));
    {
      await using api = await serveApiOf(thaw, '--insecure-no-auth');
      const client = await createFunction(api, 'telling');
      for (const event of events) {
        const { StatusCode } = await client.send(
          new sdk.InvokeCommand({
            FunctionName: 'telling',
            InvocationType: 'Event',
            Payload: Buffer.from(JSON.stringify(event)),
          }),
        );
        assert.equal(StatusCode, 202);
      }
      await untilLogged(thaw, 'telling', /got .*endless/);
      await api.kill();
    }
    await using next = await serveApiOf(thaw, '--insecure-no-auth');
    await untilLogged(thaw, 'telling', /(got .*endless[^]*){2}/);
    await untilLogged(thaw, 'telling', /got .*quick[^]*END /);
    const removal = new sdk.DeleteFunctionCommand({ FunctionName: 'telling' }); // which ends it
    await next.clientOf(anybody).send(removal);
  });
});
