/**
 * Functions whose image a real registry has: published in the background for their tenant, whatever becomes of the server
 * meanwhile.
 */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import * as sdk from '@aws-sdk/client-lambda';
import type { LambdaClient } from '@aws-sdk/client-lambda';

import { missingHere } from '../../src/device/testing/worker-fixture.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import { needsPrograms } from '../support/programs.ts';
import { registryMissing, startRegistry, type Registry } from '../support/registry.ts';
import { accessKeyOf, serveApiOf } from '../support/served-api.ts';
import { echoScript, writeShellImage } from '../support/shell-image.ts';
import { thawFor } from '../support/thaw.ts';

const skip = missingHere() || registryMissing || needsPrograms('busybox');
const Role = 'arn:aws:iam::000000000000:role/any';
const waiting = (client: LambdaClient) => ({ client, maxWaitTime: 500, minDelay: 1, maxDelay: 1 });

async function pushEcho(registry: Registry): Promise<void> {
  const layouts = await mkdtemp(join(tmpdir(), 'thaw-layouts-'));
  try {
    const source = await writeShellImage(join(layouts, 'echo'), 'echo', echoScript);
    await registry.push(source, 'echo:1');
  } finally {
    await rm(layouts, { recursive: true });
  }
}

async function invoke(client: LambdaClient, qualifier: string): Promise<string> {
  const { Payload, FunctionError } = await client.send(
    new sdk.InvokeCommand({ FunctionName: 'echo', Payload: '{"a":1}', Qualifier: qualifier }),
  );
  assert.equal(FunctionError, undefined);
  return Buffer.from(Payload ?? []).toString();
}

test(
  'a server killed while it publishes leaves a function that the next one finishes',
  { skip },
  async (t) => {
    const thaw = await thawFor(t);
    await using registry = await startRegistry();
    await pushEcho(registry);
    const released = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    await using proxy = await startFaultProxy(registry.host, ({ path }) => {
      if (!path.includes('/blobs/')) return undefined;
      asked.resolve();
      return { kind: 'hold', until: released.promise };
    });
    const ImageUri = `${proxy.host}/echo:1`;
    const key = await accessKeyOf(thaw, 'alice');
    {
      await using served = await serveApiOf(thaw);
      const client = served.clientOf(key);
      const created = await client.send(
        new sdk.CreateFunctionCommand({
          FunctionName: 'echo',
          PackageType: 'Image',
          Code: { ImageUri },
          Role,
          Timeout: 300,
          Publish: true,
        }),
      );
      assert.equal(created.State, 'Pending');
      assert.equal(created.Version, '1');
      await asked.promise;
      await assert.rejects(invoke(client, '1'), { name: 'ResourceConflictException' });
      await served.kill();
    }
    released.resolve();
    await using served = await serveApiOf(thaw);
    const client = served.clientOf(key);
    await sdk.waitUntilFunctionActiveV2(waiting(client), { FunctionName: 'echo' });
    await sdk.waitUntilPublishedVersionActive(waiting(client), {
      FunctionName: 'echo',
      Qualifier: '1',
    });
    for (const qualifier of ['$LATEST', '1']) {
      assert.equal(await invoke(client, qualifier), '{"a":1}', qualifier);
    }
    const images = await thaw.json<readonly unknown[]>('image', 'ls', '--tenant', 'alice');
    assert.equal(images.length, 1, 'published once');
  },
);

test(
  'an update whose image the registry does not have leaves the function as it was',
  { skip },
  async (t) => {
    const thaw = await thawFor(t);
    await using registry = await startRegistry();
    await pushEcho(registry);
    const key = await accessKeyOf(thaw, 'alice');
    await using served = await serveApiOf(thaw);
    const client = served.clientOf(key);
    const code = (tag: string) => ({ ImageUri: `${registry.host}/echo:${tag}` });
    const FunctionName = 'echo';
    await client.send(
      new sdk.CreateFunctionCommand({
        FunctionName,
        PackageType: 'Image',
        Code: code('1'),
        Role,
        Timeout: 300,
      }),
    );
    await sdk.waitUntilFunctionActiveV2(waiting(client), { FunctionName });
    await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ...code('absent') }));
    const update = sdk.waitUntilFunctionUpdatedV2(waiting(client), { FunctionName });
    await assert.rejects(update);
    const { Configuration } = await client.send(new sdk.GetFunctionCommand({ FunctionName }));
    assert.equal(Configuration?.State, 'Active');
    assert.equal(Configuration.LastUpdateStatus, 'Failed');
    assert.equal(Configuration.LastUpdateStatusReasonCode, 'InvalidImage');
    assert.equal(await invoke(client, '$LATEST'), '{"a":1}');
  },
);
