/**
 * The API through @aws-sdk/client-lambda: AWS's own idea of every request and every answer. What is compared besides comes from
 * AWS's API reference.
 */

import assert from 'node:assert/strict';
import { suite, test, type TestContext } from 'node:test';

import * as sdk from '@aws-sdk/client-lambda';
import { LambdaServiceException, type LambdaClient } from '@aws-sdk/client-lambda';

import { respond } from '../../functions/testing/simulated-worker.ts';
import { openApi } from './testing/api-fixture.ts';

const role = 'arn:aws:iam::000000000000:role/any';
const arn = 'arn:aws:lambda:local:000000000000:function:hello';

async function create(
  client: LambdaClient,
  more: Partial<sdk.CreateFunctionCommandInput> = {},
): Promise<sdk.CreateFunctionCommandOutput> {
  const command = new sdk.CreateFunctionCommand({
    FunctionName: 'hello',
    PackageType: 'Image',
    Code: { ImageUri: 'first' },
    Role: role,
    ...more,
  });
  return await client.send(command);
}

/** A client of an API that has the function `hello`. */
async function openHello(t: TestContext, more?: Partial<sdk.CreateFunctionCommandInput>) {
  const api = await openApi(t);
  await create(api.client, more);
  return api;
}

/** Fails unless the SDK throws the exception of this name and status, which its model knows. */
async function refused(
  call: Promise<unknown>,
  [name, status, message]: readonly [string, number, RegExp?],
): Promise<void> {
  await assert.rejects(call, (thrown) => {
    assert.ok(thrown instanceof LambdaServiceException, String(thrown));
    assert.equal(thrown.name, name, thrown.message);
    assert.equal(thrown.$metadata.httpStatusCode, status);
    assert.match(thrown.$metadata.requestId ?? '', /^[0-9a-f-]{36}$/);
    if (message !== undefined) assert.match(thrown.message, message);
    return true;
  });
}

const textOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();
const FunctionName = 'hello';

suite('functions', () => {
  test('one is created with all of its configuration, and shown so', async (t) => {
    const { client } = await openApi(t);
    const created = await create(client, {
      Description: 'says hello',
      MemorySize: 256,
      Timeout: 7,
      Environment: { Variables: { GREETING: 'hi' } },
      EphemeralStorage: { Size: 1024 },
      ImageConfig: { EntryPoint: ['/bin/a'], Command: ['b'], WorkingDirectory: '/c' },
      Tags: { team: 'ice' },
      Architectures: [process.arch === 'arm64' ? 'arm64' : 'x86_64'],
    });
    assert.equal(created.$metadata.httpStatusCode, 201);
    const found = await client.send(new sdk.GetFunctionCommand({ FunctionName }));
    const { Configuration: shown } = found;
    for (const configuration of [created, shown]) {
      assert.equal(configuration?.FunctionArn, arn);
      assert.equal(configuration?.Description, 'says hello');
      assert.equal(configuration?.MemorySize, 256);
      assert.equal(configuration?.Timeout, 7);
      assert.deepEqual(configuration?.Environment, { Variables: { GREETING: 'hi' } });
      assert.deepEqual(configuration?.EphemeralStorage, { Size: 1024 });
      assert.equal(configuration?.Role, role);
      assert.equal(configuration?.Version, '$LATEST');
      assert.equal(configuration?.PackageType, 'Image');
      assert.equal(configuration?.State, 'Active');
      assert.equal(configuration?.LastUpdateStatus, 'Successful');
      assert.deepEqual(configuration?.ImageConfigResponse?.ImageConfig, {
        EntryPoint: ['/bin/a'],
        Command: ['b'],
        WorkingDirectory: '/c',
      });
      assert.ok(Math.abs(Date.parse(configuration?.LastModified ?? '') - Date.now()) < 60_000);
      assert.match(
        configuration?.LastModified ?? '',
        /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000$/,
      );
    }
    assert.equal(found.Code?.RepositoryType, 'ECR');
    assert.equal(found.Code?.ImageUri, 'first');
    assert.deepEqual(found.Tags, { team: 'ice' });
  });

  test('the same is read by name, partial ARN and ARN, with and without a qualifier', async (t) => {
    const { client } = await openHello(t, { Publish: true });
    for (const name of ['hello', '000000000000:function:hello', arn]) {
      const read = (of: object) =>
        client.send(new sdk.GetFunctionConfigurationCommand({ FunctionName: name, ...of }));
      assert.equal((await read({})).FunctionArn, arn);
      assert.equal((await read({ Qualifier: '$LATEST' })).FunctionArn, `${arn}:$LATEST`);
      assert.equal((await read({ Qualifier: '1' })).FunctionArn, `${arn}:1`);
      const qualified = await read({ FunctionName: `${name}:1` });
      assert.deepEqual([qualified.FunctionArn, qualified.Version], [`${arn}:1`, '1']);
    }
  });

  test('names that are taken, wrong or not there are refused', async (t) => {
    const { client } = await openHello(t);
    const get = (name: string, Qualifier?: string) =>
      client.send(new sdk.GetFunctionCommand({ FunctionName: name, Qualifier }));
    await refused(create(client), [
      'ResourceConflictException',
      409,
      /^Function already exist: hello$/,
    ]);
    await refused(create(client, { FunctionName: 'a b' }), ['ValidationException', 400]);
    await refused(create(client, { FunctionName: 'x'.repeat(65) }), ['ValidationException', 400]);
    await refused(get('other'), [
      'ResourceNotFoundException',
      404,
      /^Function not found: arn:.*:other$/,
    ]);
    await refused(get('hello', '7'), ['ResourceNotFoundException', 404, /:function:hello:7$/]);
    await refused(get(arn.replace('000000000000', '999999999999')), ['AccessDeniedException', 403]);
    await refused(get(arn.replace('local', 'eu-west-1')), [
      'ResourceNotFoundException',
      404,
      /^Functions from 'eu-west-1' are not reachable in this region \('local'\)$/,
    ]);
    await refused(get('hello:1', '2'), ['InvalidParameterValueException', 400]);
  });

  test('what may not be is refused with the limit that it breaks', async (t) => {
    const { client } = await openApi(t);
    const bad = ['InvalidParameterValueException', 400] as const;
    const outOfRange = (words: RegExp) => ['ValidationException', 400, words] as const;
    for (const [more, words] of [
      [{ MemorySize: 64 }, /'64' at 'memorySize' .* greater than or equal to 128$/],
      [{ MemorySize: 10_241 }, /'10241' at 'memorySize' .* less than or equal to 10240$/],
      [{ Timeout: 901 }, /'901' at 'timeout' .* less than or equal to 900$/],
      [{ Timeout: 0 }, /'0' at 'timeout' .* greater than or equal to 1$/],
      [{ EphemeralStorage: { Size: 511 } }, /'511' at 'ephemeralStorage.size' .* equal to 512$/],
    ] as const) {
      await refused(create(client, more), outOfRange(words));
    }
    await refused(create(client, { Environment: { Variables: { A1: 'x'.repeat(4096) } } }), bad);
    await refused(create(client, { Environment: { Variables: { AWS_REGION: 'x' } } }), bad);
    await refused(create(client, { Description: 'x'.repeat(257) }), bad);
    await refused(create(client, { Code: { ImageUri: 'missing' } }), bad);
    await refused(create(client, { Code: { S3Bucket: 'bucket', S3Key: 'key' } }), bad);
    await refused(create(client, { Code: {} }), bad);
    assert.deepEqual((await client.send(new sdk.ListFunctionsCommand({}))).Functions, []);
  });

  test('settings that Thaw has not are refused, those that say "none" let through', async (t) => {
    const { client } = await openApi(t);
    for (const more of [
      { VpcConfig: { SubnetIds: ['subnet-1'], SecurityGroupIds: ['sg-1'] } },
      { DeadLetterConfig: { TargetArn: 'arn:aws:sqs:local:000000000000:q' } },
      { KMSKeyArn: 'arn:aws:kms:local:000000000000:key/1' },
      { TracingConfig: { Mode: 'Active' } },
      { Layers: ['arn:aws:lambda:local:000000000000:layer:l:1'] },
      { FileSystemConfigs: [{ Arn: 'arn:aws:efs', LocalMountPath: '/mnt/a' }] },
      { SnapStart: { ApplyOn: 'PublishedVersions' } },
      { Architectures: [process.arch === 'arm64' ? 'x86_64' : 'arm64'] },
    ] as const) {
      const [name = ''] = Object.keys(more);
      const call = create(client, more as Partial<sdk.CreateFunctionCommandInput>);
      await refused(call, ['InvalidParameterValueException', 400, new RegExp(name)]);
    }
    await create(client, {
      VpcConfig: { SubnetIds: [], SecurityGroupIds: [] },
      DeadLetterConfig: {},
      KMSKeyArn: '',
      TracingConfig: { Mode: 'PassThrough' },
      Layers: [],
      SnapStart: { ApplyOn: 'None' },
    });
  });

  test('the configuration is changed, in part and on condition of the revision', async (t) => {
    const { client } = await openHello(t, { Description: 'stays' });
    const update = (more: object) =>
      client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, ...more }));
    const first = await update({ Environment: { Variables: { COLD: '1' } } });
    assert.deepEqual(first.Environment?.Variables, { COLD: '1' });
    assert.equal(first.Description, 'stays');
    const second = await update({ MemorySize: 512, RevisionId: first.RevisionId });
    assert.notEqual(second.RevisionId, first.RevisionId);
    assert.deepEqual(second.Environment?.Variables, { COLD: '1' });
    await refused(update({ MemorySize: 128, RevisionId: first.RevisionId }), [
      'PreconditionFailedException',
      412,
      /Revision Id provided does not match the latest/,
    ]);
    assert.equal((await update({ Environment: { Variables: {} } })).Environment, undefined);
    await update({ FunctionName: `${arn}:$LATEST`, MemorySize: 128 });
    await refused(update({ FunctionName: `${arn}:1` }), ['InvalidParameterValueException', 400]);
    await sdk.waitUntilFunctionUpdatedV2(
      { client, maxWaitTime: 10, minDelay: 1 },
      { FunctionName },
    );
    await sdk.waitUntilFunctionActiveV2({ client, maxWaitTime: 10, minDelay: 1 }, { FunctionName });
  });

  test('the code is changed, tried, and published with the change', async (t) => {
    const { client } = await openHello(t);
    const update = (more: object) =>
      client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName, ...more }));
    const dry = await update({ ImageUri: 'second', DryRun: true });
    const before = await client.send(new sdk.GetFunctionCommand({ FunctionName }));
    assert.notEqual(dry.CodeSha256, before.Configuration?.CodeSha256);
    assert.equal(before.Code?.ImageUri, 'first');
    const published = await update({ ImageUri: 'second', Publish: true });
    assert.deepEqual([published.Version, published.FunctionArn], ['1', `${arn}:1`]);
    const after = await client.send(new sdk.GetFunctionCommand({ FunctionName }));
    assert.equal(after.Code?.ImageUri, 'second');
    await refused(update({ ImageUri: 'missing' }), ['InvalidParameterValueException', 400]);
    await refused(update({}), ['InvalidParameterValueException', 400]);
  });

  test('lists come in pages, of functions and of all their versions', async (t) => {
    const { client } = await openApi(t);
    const names = Array.from({ length: 7 }, (_, index) => `f${index}`);
    for (const name of names) await create(client, { FunctionName: name, Publish: true });
    const listed: string[] = [];
    for await (const page of sdk.paginateListFunctions({ client, pageSize: 3 }, {})) {
      assert.ok((page.Functions?.length ?? 0) <= 3);
      listed.push(...(page.Functions ?? []).map((each) => each.FunctionName ?? ''));
      assert.equal(page.Functions?.[0]?.State, undefined, 'lists show no states');
    }
    assert.deepEqual(listed, names);
    const versions: string[] = [];
    const all = { FunctionVersion: 'ALL' } as const;
    for await (const page of sdk.paginateListFunctions({ client, pageSize: 5 }, all)) {
      assert.ok((page.Functions?.length ?? 0) <= 5);
      versions.push(
        ...(page.Functions ?? []).map((each) => `${each.FunctionName}:${each.Version}`),
      );
    }
    assert.deepEqual(
      versions,
      names.flatMap((name) => [`${name}:$LATEST`, `${name}:1`]),
    );
    const list = (input: sdk.ListFunctionsCommandInput) =>
      client.send(new sdk.ListFunctionsCommand(input));
    await refused(list({ Marker: '!' }), ['InvalidParameterValueException', 400]);
    await refused(list({ MaxItems: 0 }), ['ValidationException', 400]);
  });

  test('one is deleted, or one version of it', async (t) => {
    const { client } = await openHello(t, { Publish: true });
    const remove = (Qualifier?: string) =>
      client.send(new sdk.DeleteFunctionCommand({ FunctionName, Qualifier }));
    await refused(remove('$LATEST'), ['InvalidParameterValueException', 400]);
    await refused(remove('an-alias'), ['InvalidParameterValueException', 400]);
    assert.equal((await remove('1')).$metadata.httpStatusCode, 204);
    await client.send(new sdk.GetFunctionCommand({ FunctionName }));
    assert.equal((await remove()).$metadata.httpStatusCode, 204);
    await refused(remove(), ['ResourceNotFoundException', 404]);
  });
});

suite('versions and aliases', () => {
  test('versions are published, the same one where nothing has changed', async (t) => {
    const { client } = await openHello(t);
    const publish = (more: object = {}) =>
      client.send(new sdk.PublishVersionCommand({ FunctionName, ...more }));
    const first = await publish({ Description: 'one' });
    assert.equal(first.$metadata.httpStatusCode, 201);
    assert.deepEqual(
      [first.Version, first.FunctionArn, first.Description],
      ['1', `${arn}:1`, 'one'],
    );
    assert.equal((await publish()).Version, '1');
    await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 9 }));
    await refused(publish({ CodeSha256: 'other' }), ['InvalidParameterValueException', 400]);
    await refused(publish({ RevisionId: first.RevisionId }), ['PreconditionFailedException', 412]);
    assert.equal((await publish()).Version, '2');
    await sdk.waitUntilPublishedVersionActive(
      { client, maxWaitTime: 10, minDelay: 1 },
      { FunctionName, Qualifier: '2' },
    );
    const list = await client.send(new sdk.ListVersionsByFunctionCommand({ FunctionName }));
    assert.deepEqual(
      list.Versions?.map((version) => version.FunctionArn),
      [`${arn}:$LATEST`, `${arn}:1`, `${arn}:2`],
    );
  });

  test('aliases are made, moved, weighed, listed and removed', async (t) => {
    const { client } = await openHello(t, { Publish: true });
    await client.send(new sdk.UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 9 }));
    await client.send(new sdk.PublishVersionCommand({ FunctionName }));
    const of = { FunctionName, Name: 'live' };
    const made = await client.send(
      new sdk.CreateAliasCommand({ ...of, FunctionVersion: '1', Description: 'the one' }),
    );
    assert.equal(made.$metadata.httpStatusCode, 201);
    assert.equal(made.AliasArn, `${arn}:live`);
    const moved = await client.send(
      new sdk.UpdateAliasCommand({
        ...of,
        RoutingConfig: { AdditionalVersionWeights: { '2': 0.25 } },
        RevisionId: made.RevisionId,
      }),
    );
    assert.deepEqual(moved.RoutingConfig, { AdditionalVersionWeights: { '2': 0.25 } });
    const read = await client.send(new sdk.GetAliasCommand(of));
    assert.deepEqual([read.FunctionVersion, read.Description], ['1', 'the one']);
    const update = (more: object) => client.send(new sdk.UpdateAliasCommand({ ...of, ...more }));
    await refused(update({ RevisionId: made.RevisionId }), ['PreconditionFailedException', 412]);
    assert.equal((await update({ RoutingConfig: {} })).RoutingConfig, undefined);
    const list = async (FunctionVersion?: string) =>
      (
        await client.send(new sdk.ListAliasesCommand({ FunctionName, FunctionVersion }))
      ).Aliases?.map((alias) => alias.Name);
    assert.deepEqual(await list(), ['live']);
    assert.deepEqual(await list('1'), ['live']);
    assert.deepEqual(await list('2'), []);
    const shown = await client.send(
      new sdk.GetFunctionConfigurationCommand({ FunctionName: `${arn}:live` }),
    );
    assert.deepEqual([shown.FunctionArn, shown.Version], [`${arn}:live`, '1']);
    const removeVersion = new sdk.DeleteFunctionCommand({ FunctionName, Qualifier: '1' });
    await refused(client.send(removeVersion), ['ResourceConflictException', 409]);
    const removed = await client.send(new sdk.DeleteAliasCommand(of));
    assert.equal(removed.$metadata.httpStatusCode, 204);
    await refused(client.send(new sdk.GetAliasCommand(of)), [
      'ResourceNotFoundException',
      404,
      /^Cannot find alias arn: .*:hello:live$/,
    ]);
    await client.send(new sdk.DeleteAliasCommand(of));
  });

  test('aliases that may not be are refused', async (t) => {
    const { client } = await openHello(t, { Publish: true });
    const make = (more: object) =>
      client.send(
        new sdk.CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '1', ...more }),
      );
    await make({});
    await refused(make({}), [
      'ResourceConflictException',
      409,
      /^Alias already exists: .*:hello:live$/,
    ]);
    await refused(make({ Name: '12' }), ['ValidationException', 400]);
    await refused(make({ Name: 'other', FunctionVersion: '9' }), [
      'ResourceNotFoundException',
      404,
    ]);
    const weights = { AdditionalVersionWeights: { '1': 2 } };
    await refused(make({ Name: 'other', RoutingConfig: weights }), ['ValidationException', 400]);
    await refused(make({ FunctionName: 'missing' }), ['ResourceNotFoundException', 404]);
  });
});

suite('invokes', () => {
  const invoke = (client: LambdaClient, more: object = {}) =>
    client.send(new sdk.InvokeCommand({ FunctionName, ...more }));

  test('the answer comes with the version that ran and, where asked for, the tail of the log', async (t) => {
    const { client } = await openHello(t, { Publish: true });
    const result = await invoke(client, { Payload: '{"a":[1,2]}', LogType: 'Tail' });
    assert.equal(textOf(result.Payload), '{"a":[1,2]}');
    assert.deepEqual([result.StatusCode, result.ExecutedVersion], [200, '$LATEST']);
    assert.equal(result.FunctionError, undefined);
    const log = Buffer.from(result.LogResult ?? '', 'base64').toString();
    assert.match(log, new RegExp(`^START RequestId: ${result.$metadata.requestId} `));
    assert.match(log, /\nREPORT RequestId: /);
    const quiet = await invoke(client, { Qualifier: '1' });
    assert.deepEqual([quiet.ExecutedVersion, quiet.LogResult], ['1', undefined]);
    assert.equal(textOf(quiet.Payload), '{}');
  });

  test('a function that fails is no failure of the API', async (t) => {
    const payload = Buffer.from('{"errorMessage":"as told","errorType":"Oops"}');
    const { client } = await openApi(t, {
      program: () => ({
        init: async () => ({}),
        handle: async () => ({ kind: 'error', errorType: 'Oops', payload }),
      }),
    });
    await create(client);
    const result = await invoke(client);
    assert.deepEqual([result.StatusCode, result.FunctionError], [200, 'Unhandled']);
    assert.equal(textOf(result.Payload), payload.toString());
  });

  test('the client context and the trace reach the runtime', async (t) => {
    const { client } = await openApi(t, {
      program: () => ({
        init: async () => ({}),
        handle: async ({ clientContext, functionArn }) => respond({ clientContext, functionArn }),
      }),
    });
    await create(client);
    const context = '{"custom":{"a":"b"}}';
    const result = await invoke(client, { ClientContext: Buffer.from(context).toString('base64') });
    assert.deepEqual(JSON.parse(textOf(result.Payload)), {
      clientContext: context,
      functionArn: arn,
    });
    for (const wrong of ['%%%', Buffer.from('"text').toString('base64')]) {
      await refused(invoke(client, { ClientContext: wrong }), [
        'InvalidRequestContentException',
        400,
      ]);
    }
  });

  test('an event is accepted, and runs in its own time', async (t) => {
    const handled = Promise.withResolvers<string>();
    const { client } = await openApi(t, {
      program: () => ({
        init: async () => ({}),
        handle: async ({ payload, requestId }) => {
          handled.resolve(`${requestId} ${textOf(payload)}`);
          return respond(null);
        },
      }),
    });
    await create(client);
    const accepted = await invoke(client, { InvocationType: 'Event', Payload: '{"later":true}' });
    assert.deepEqual([accepted.StatusCode, textOf(accepted.Payload)], [202, '']);
    assert.equal(await handled.promise, `${accepted.$metadata.requestId} {"later":true}`);
    const old = await client.send(new sdk.InvokeAsyncCommand({ FunctionName, InvokeArgs: '{}' }));
    assert.equal(old.Status, 202);
  });

  test('a dry run checks and starts nothing', async (t) => {
    const { client } = await openApi(t, { program: () => assert.fail('it was started') });
    await create(client);
    const dry = await invoke(client, { InvocationType: 'DryRun' });
    assert.equal(dry.StatusCode, 204);
    await refused(invoke(client, { InvocationType: 'DryRun', Qualifier: '9' }), [
      'ResourceNotFoundException',
      404,
    ]);
  });

  test('payloads that are no JSON or too long, and functions not there, are refused', async (t) => {
    const { client } = await openHello(t);
    await refused(invoke(client, { Payload: '{' }), [
      'InvalidRequestContentException',
      400,
      /^Could not parse request body into json/,
    ]);
    await refused(invoke(client, { Payload: `"${'x'.repeat(6 * 2 ** 20)}"` }), [
      'RequestTooLargeException',
      413,
      /^Request must be smaller than 6291456 bytes for the InvokeFunction/,
    ]);
    const longEvent = { InvocationType: 'Event', Payload: `"${'x'.repeat(2 ** 18)}"` };
    await refused(invoke(client, longEvent), [
      'RequestTooLargeException',
      413,
      /smaller than 262144 bytes/,
    ]);
    await refused(invoke(client, { FunctionName: 'other' }), ['ResourceNotFoundException', 404]);
    await refused(invoke(client, { InvocationType: 'Never' }), ['ValidationException', 400]);
  });

  test('one over the limit is throttled with the reason and when to try again', async (t) => {
    const { client } = await openHello(t);
    const reserve = (reserved: number) =>
      client.send(
        new sdk.PutFunctionConcurrencyCommand({
          FunctionName,
          ReservedConcurrentExecutions: reserved,
        }),
      );
    assert.equal((await reserve(0)).ReservedConcurrentExecutions, 0);
    await assert.rejects(invoke(client), (thrown) => {
      assert.ok(thrown instanceof sdk.TooManyRequestsException, String(thrown));
      assert.equal(thrown.$metadata.httpStatusCode, 429);
      assert.equal(thrown.Reason, 'ReservedFunctionConcurrentInvocationLimitExceeded');
      assert.match(thrown.retryAfterSeconds ?? '', /^\d+$/);
      return true;
    });
  });

  test('a streamed response comes as events, with the log at its end', async (t) => {
    const { client } = await openHello(t);
    const {
      EventStream = [],
      ExecutedVersion,
      ResponseStreamContentType,
    } = await client.send(
      new sdk.InvokeWithResponseStreamCommand({
        FunctionName,
        Payload: '{"s":1}',
        LogType: 'Tail',
      }),
    );
    assert.deepEqual(
      [ExecutedVersion, ResponseStreamContentType],
      ['$LATEST', 'application/vnd.amazon.eventstream'],
    );
    let body = '';
    let end: sdk.InvokeWithResponseStreamCompleteEvent | undefined;
    for await (const event of EventStream) {
      assert.equal(end, undefined, 'nothing comes after the end');
      body += textOf(event.PayloadChunk?.Payload);
      end = event.InvokeComplete;
    }
    assert.equal(body, '{"s":1}');
    assert.equal(end?.ErrorCode, undefined);
    assert.match(Buffer.from(end?.LogResult ?? '', 'base64').toString(), /REPORT/);
  });

  test('a streamed response that fails says so at its end', async (t) => {
    const { client } = await openApi(t, {
      program: () => ({
        init: async () => ({}),
        handle: async () => {
          const payload = Buffer.from('{"errorMessage":"as told","errorType":"Oops"}');
          return { kind: 'error', errorType: 'Oops', payload };
        },
      }),
    });
    await create(client);
    const { EventStream = [] } = await client.send(
      new sdk.InvokeWithResponseStreamCommand({ FunctionName }),
    );
    const ends: (sdk.InvokeWithResponseStreamCompleteEvent | undefined)[] = [];
    for await (const event of EventStream) ends.push(event.InvokeComplete);
    const end = ends.at(-1);
    assert.equal(end?.ErrorCode, 'Unhandled');
    assert.match(end?.ErrorDetails ?? '', /as told/);
  });
});

suite('what a function has besides', () => {
  test('reserved concurrency is set, read and taken back', async (t) => {
    const { client } = await openHello(t);
    const read = async () =>
      (await client.send(new sdk.GetFunctionConcurrencyCommand({ FunctionName })))
        .ReservedConcurrentExecutions;
    const reserve = (reserved: number | undefined) =>
      client.send(
        new sdk.PutFunctionConcurrencyCommand({
          FunctionName,
          ReservedConcurrentExecutions: reserved,
        }),
      );
    assert.equal(await read(), undefined);
    await reserve(5);
    assert.equal(await read(), 5);
    const { Concurrency } = await client.send(new sdk.GetFunctionCommand({ FunctionName }));
    assert.deepEqual(Concurrency, { ReservedConcurrentExecutions: 5 });
    const { AccountLimit, AccountUsage } = await client.send(new sdk.GetAccountSettingsCommand({}));
    const { ConcurrentExecutions = 0, UnreservedConcurrentExecutions } = AccountLimit ?? {};
    assert.equal(UnreservedConcurrentExecutions, ConcurrentExecutions - 5);
    assert.equal(AccountUsage?.FunctionCount, 1);
    await refused(reserve(ConcurrentExecutions), ['InvalidParameterValueException', 400]);
    await refused(reserve(-1), ['ValidationException', 400]);
    const ofVersion = { FunctionName: `${arn}:1`, ReservedConcurrentExecutions: 1 };
    await refused(client.send(new sdk.PutFunctionConcurrencyCommand(ofVersion)), [
      'InvalidParameterValueException',
      400,
      /permitted on Lambda functions only/,
    ]);
    await client.send(new sdk.DeleteFunctionConcurrencyCommand({ FunctionName }));
    assert.equal(await read(), undefined);
  });

  test('tags are set, read and taken away', async (t) => {
    const { client } = await openHello(t);
    const read = async () => (await client.send(new sdk.ListTagsCommand({ Resource: arn }))).Tags;
    const tag = (Tags: Record<string, string>) =>
      client.send(new sdk.TagResourceCommand({ Resource: arn, Tags }));
    assert.deepEqual(await read(), {});
    await tag({ a: '1', 'team/b': 'x y' });
    await tag({ a: '2' });
    assert.deepEqual(await read(), { a: '2', 'team/b': 'x y' });
    await client.send(new sdk.UntagResourceCommand({ Resource: arn, TagKeys: ['a', 'team/b'] }));
    assert.deepEqual(await read(), {});
    const many = Object.fromEntries(Array.from({ length: 51 }, (_, index) => [`k${index}`, 'v']));
    await refused(tag(many), ['InvalidParameterValueException', 400]);
    await refused(tag({}), ['InvalidParameterValueException', 400]);
    await refused(client.send(new sdk.ListTagsCommand({ Resource: `${arn}:1` })), [
      'InvalidParameterValueException',
      400,
    ]);
    const missing = new sdk.ListTagsCommand({ Resource: arn.replace('hello', 'other') });
    await refused(client.send(missing), ['ResourceNotFoundException', 404]);
  });

  test("Thaw's own settings are reached by tags, and shown as such", async (t) => {
    const web = { 'thaw:web-port': '8080', 'thaw:web-ready-path': '/ready' };
    const { client, service } = await openHello(t, { Tags: { team: 'ice', ...web } });
    const of = { tenant: 'default', name: 'hello' };
    const kept = async () => {
      const { record, settings } = await service.find(of);
      return { network: record.network, web: record.webServer, tags: settings.tags };
    };
    assert.deepEqual(await kept(), {
      network: 'none',
      web: { port: 8080, readyPath: '/ready' },
      tags: { team: 'ice' },
    });
    const read = async () => (await client.send(new sdk.ListTagsCommand({ Resource: arn }))).Tags;
    assert.deepEqual(await read(), { team: 'ice', ...web });
    const tag = (Tags: Record<string, string>) =>
      client.send(new sdk.TagResourceCommand({ Resource: arn, Tags }));
    await tag({ 'thaw:network': 'nat', 'thaw:web-ready-path': '/' });
    assert.deepEqual(await kept(), {
      network: 'nat',
      web: { port: 8080, readyPath: '/' },
      tags: { team: 'ice' },
    });
    const TagKeys = ['thaw:network', 'thaw:web-port'];
    await client.send(new sdk.UntagResourceCommand({ Resource: arn, TagKeys }));
    assert.deepEqual(await kept(), { network: 'none', web: undefined, tags: { team: 'ice' } });
    for (const wrong of [
      { 'thaw:network': 'vpn' },
      { 'thaw:network': 'host' }, // is the machine's owner's to choose
      { 'thaw:web-port': '0' },
      { 'thaw:web-port': '80.5' },
      { 'thaw:web-ready-path': '/' },
      { 'thaw:web-port': '80', 'thaw:web-ready-path': 'ready' },
      { 'thaw:other': '1' },
    ]) {
      await refused(tag(wrong), ['InvalidParameterValueException', 400]);
    }
  });

  test('function URLs are made, read, changed, listed and removed', async (t) => {
    const { client, url } = await openHello(t, { Publish: true });
    await client.send(
      new sdk.CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '1' }),
    );
    const make = (more: object = {}) =>
      client.send(
        new sdk.CreateFunctionUrlConfigCommand({ FunctionName, AuthType: 'NONE', ...more }),
      );
    const read = (more: object = {}) =>
      client.send(new sdk.GetFunctionUrlConfigCommand({ FunctionName, ...more }));
    await refused(read(), ['ResourceNotFoundException', 404]);
    const made = await make();
    assert.equal(made.$metadata.httpStatusCode, 201);
    assert.equal(made.FunctionUrl, `${url}/url/hello/`);
    assert.deepEqual([made.FunctionArn, made.InvokeMode], [arn, 'BUFFERED']);
    await refused(make(), ['ResourceConflictException', 409]);
    const ofAlias = await make({ Qualifier: 'live', AuthType: 'AWS_IAM' });
    assert.deepEqual(
      [ofAlias.FunctionUrl, ofAlias.FunctionArn],
      [`${url}/url/hello:live/`, `${arn}:live`],
    );
    const changed = await client.send(
      new sdk.UpdateFunctionUrlConfigCommand({ FunctionName, InvokeMode: 'RESPONSE_STREAM' }),
    );
    assert.deepEqual([changed.AuthType, changed.InvokeMode], ['NONE', 'RESPONSE_STREAM']);
    assert.equal((await read()).InvokeMode, 'RESPONSE_STREAM');
    assert.equal((await read({ Qualifier: 'live' })).AuthType, 'AWS_IAM');
    const list = await client.send(new sdk.ListFunctionUrlConfigsCommand({ FunctionName }));
    assert.equal(list.FunctionUrlConfigs?.length, 2);
    await refused(make({ Qualifier: '1' }), ['ValidationException', 400]);
    await refused(make({ Qualifier: 'other' }), ['ResourceNotFoundException', 404]);
    await refused(make({ AuthType: 'LATER' }), ['ValidationException', 400]);
    const remove = () => client.send(new sdk.DeleteFunctionUrlConfigCommand({ FunctionName }));
    assert.equal((await remove()).$metadata.httpStatusCode, 204);
    await refused(remove(), ['ResourceNotFoundException', 404]);
  });

  test('retries of events are configured, in whole and in part', async (t) => {
    const { client } = await openHello(t);
    const read = () => client.send(new sdk.GetFunctionEventInvokeConfigCommand({ FunctionName }));
    const put = (more: object) =>
      client.send(new sdk.PutFunctionEventInvokeConfigCommand({ FunctionName, ...more }));
    await refused(read(), ['ResourceNotFoundException', 404]);
    const first = await put({ MaximumRetryAttempts: 0, MaximumEventAgeInSeconds: 60 });
    assert.equal(first.FunctionArn, `${arn}:$LATEST`);
    assert.ok(Math.abs(Number(first.LastModified) - Date.now()) < 60_000);
    const update = new sdk.UpdateFunctionEventInvokeConfigCommand({
      FunctionName,
      MaximumRetryAttempts: 1,
    });
    const { MaximumRetryAttempts, MaximumEventAgeInSeconds } = await client.send(update);
    assert.deepEqual([MaximumRetryAttempts, MaximumEventAgeInSeconds], [1, 60]);
    const again = await put({ MaximumEventAgeInSeconds: 100 });
    assert.equal(again.MaximumRetryAttempts, 2, 'what is left out is the default again');
    await refused(put({}), [
      'InvalidParameterValueException',
      400,
      /^You must specify at least one/,
    ]);
    await refused(put({ FunctionName: 'other', MaximumRetryAttempts: 0 }), [
      'ResourceNotFoundException',
      404,
      /^The function doesn't exist\.$/,
    ]);
    const list = await client.send(new sdk.ListFunctionEventInvokeConfigsCommand({ FunctionName }));
    assert.equal(list.FunctionEventInvokeConfigs?.length, 1);
    await refused(put({ MaximumRetryAttempts: 3 }), ['ValidationException', 400]);
    await refused(put({ MaximumEventAgeInSeconds: 59 }), ['ValidationException', 400]);
    const destination = { OnFailure: { Destination: 'arn:aws:sqs:local:000000000000:q' } };
    await refused(put({ DestinationConfig: destination }), ['InvalidParameterValueException', 400]);
    await client.send(new sdk.DeleteFunctionEventInvokeConfigCommand({ FunctionName }));
    await refused(read(), ['ResourceNotFoundException', 404]);
  });
});

suite('permissions', () => {
  const statement = { StatementId: 's', Action: 'lambda:InvokeFunction', Principal: '*' };
  const open = async (t: TestContext) => {
    const { client, service } = await openHello(t, { Publish: true });
    const alias = { FunctionName, Name: 'live', FunctionVersion: '1' };
    await client.send(new sdk.CreateAliasCommand(alias));
    return {
      client,
      service,
      add: async (more: Partial<sdk.AddPermissionCommandInput> = {}) => {
        const input = { FunctionName, ...statement, ...more };
        return await client.send(new sdk.AddPermissionCommand(input));
      },
      read: async (Qualifier?: string) => {
        const found = await client.send(new sdk.GetPolicyCommand({ FunctionName, Qualifier }));
        return { ...(JSON.parse(found.Policy ?? '') as object), RevisionId: found.RevisionId };
      },
      remove: async (more: Partial<sdk.RemovePermissionCommandInput> = {}) => {
        const input = { FunctionName, StatementId: 's', ...more };
        return await client.send(new sdk.RemovePermissionCommand(input));
      },
    };
  };

  test('each is written as Lambda writes it, and kept in order', async (t) => {
    const { add, read } = await open(t);
    const added = await add({
      Principal: 's3.amazonaws.com',
      SourceArn: 'arn:aws:s3:::bucket',
      SourceAccount: '123456789012',
    });
    assert.equal(added.$metadata.httpStatusCode, 201);
    const first = {
      Sid: 's',
      Effect: 'Allow',
      Principal: { Service: 's3.amazonaws.com' },
      Action: 'lambda:InvokeFunction',
      Resource: arn,
      Condition: {
        StringEquals: { 'AWS:SourceAccount': '123456789012' },
        ArnLike: { 'AWS:SourceArn': 'arn:aws:s3:::bucket' },
      },
    };
    assert.deepEqual(JSON.parse(added.Statement ?? ''), first);
    await add({
      StatementId: 'url',
      Action: 'lambda:InvokeFunctionUrl',
      FunctionUrlAuthType: 'NONE',
    });
    await add({ StatementId: 'account', Principal: '123456789012', InvokedViaFunctionUrl: true });
    await add({ StatementId: 'role', Principal: role, PrincipalOrgID: 'o-0123456789' });
    const { RevisionId, ...policy } = await read();
    assert.match(RevisionId ?? '', /^[0-9a-f-]{36}$/);
    const allow = { Effect: 'Allow', Action: 'lambda:InvokeFunction', Resource: arn };
    assert.deepEqual(policy, {
      Version: '2012-10-17',
      Id: 'default',
      Statement: [
        first,
        {
          ...allow,
          Sid: 'url',
          Action: 'lambda:InvokeFunctionUrl',
          Principal: '*',
          Condition: { StringEquals: { 'lambda:FunctionUrlAuthType': 'NONE' } },
        },
        {
          ...allow,
          Sid: 'account',
          Principal: { AWS: 'arn:aws:iam::123456789012:root' },
          Condition: { Bool: { 'lambda:InvokedViaFunctionUrl': 'true' } },
        },
        {
          ...allow,
          Sid: 'role',
          Principal: { AWS: role },
          Condition: { StringEquals: { 'aws:PrincipalOrgID': 'o-0123456789' } },
        },
      ],
    });
  });

  test('each qualifier has its own, an alias until it is removed', async (t) => {
    const { client, add, read, remove } = await open(t);
    const nothing = ['ResourceNotFoundException', 404] as const;
    for (const Qualifier of ['1', 'live']) {
      await add({ Qualifier });
      const { Statement } = (await read(Qualifier)) as unknown as {
        readonly Statement: readonly { readonly Resource: string }[];
      };
      assert.deepEqual(
        Statement.map(({ Resource }) => Resource),
        [`${arn}:${Qualifier}`],
      );
    }
    await refused(read(), nothing);
    await remove({ Qualifier: '1' });
    await refused(read('1'), nothing);
    await client.send(new sdk.DeleteAliasCommand({ FunctionName, Name: 'live' }));
    await client.send(
      new sdk.CreateAliasCommand({ FunctionName, Name: 'live', FunctionVersion: '1' }),
    );
    await refused(read('live'), nothing);
  });

  test('changes name the revision that they were made of, and no invoke becomes cold by them', async (t) => {
    const { service, add, read, remove } = await open(t);
    const invoke = async () =>
      await service.invoke({ tenant: 'default', name: 'hello', payload: Buffer.from('{}') });
    await invoke();
    await add();
    const { RevisionId } = await read();
    const changed = ['PreconditionFailedException', 412] as const;
    await refused(add({ StatementId: 't', RevisionId: 'other' }), changed);
    await add({ StatementId: 't', RevisionId });
    await refused(remove({ RevisionId }), changed);
    await remove({ RevisionId: (await read()).RevisionId });
    assert.equal((await invoke()).coldStart, false);
  });

  test('what may not be is refused', async (t) => {
    const { add, read, remove } = await open(t);
    const nothing = ['ResourceNotFoundException', 404] as const;
    await refused(remove(), nothing);
    await add();
    await refused(add(), ['ResourceConflictException', 409, /statement id \(s\) provided already/]);
    await refused(remove({ StatementId: 'x' }), [...nothing, /Statement x is not found/]);
    for (const more of [{ FunctionName: 'gone' }, { Qualifier: 'gone' }, { Qualifier: '7' }]) {
      await refused(add({ StatementId: 't', ...more }), nothing);
    }
    const latest = add({ StatementId: 't', Qualifier: '$LATEST' });
    await refused(latest, ['InvalidParameterValueException', 400, /\$LATEST/]);
    const forUrl = add({ StatementId: 't', FunctionUrlAuthType: 'NONE' });
    await refused(forUrl, ['InvalidParameterValueException', 400, /lambda:InvokeFunctionUrl/]);
    for (const more of [
      { StatementId: 'a b' },
      { StatementId: 'x'.repeat(101) },
      { Action: 's3:GetObject' },
      { Principal: 'a b' },
      { SourceArn: 'bucket' },
      { SourceAccount: '1' },
      { EventSourceToken: 'ö' },
      { PrincipalOrgID: 'o-1' },
      { FunctionUrlAuthType: 'SOME' as sdk.FunctionUrlAuthType },
      { Principal: undefined },
    ]) {
      await refused(add({ StatementId: 't', ...more }), ['ValidationException', 400]);
    }
    const long = add({ StatementId: 't', Principal: 'x'.repeat(20_480) });
    await refused(long, ['PolicyLengthExceededException', 400, /bigger than the limit \(20480\)/]);
    const { Statement } = (await read()) as unknown as { readonly Statement: readonly unknown[] };
    assert.equal(Statement.length, 1);
  });
});

test('operations that Thaw has not answer as Lambda does where there is nothing', async (t) => {
  const { client } = await openHello(t);
  const of = { FunctionName };
  const layer = { LayerName: 'l', Content: { ZipFile: Buffer.from('x') } };
  await refused(client.send(new sdk.PublishLayerVersionCommand(layer)), [
    'InvalidParameterValueException',
    400,
    /Thaw does not have/,
  ]);
  const mappings = await client.send(new sdk.ListEventSourceMappingsCommand({}));
  assert.deepEqual(mappings.EventSourceMappings, []);
  assert.deepEqual((await client.send(new sdk.ListLayersCommand({}))).Layers, []);
  const byArn = new sdk.GetLayerVersionByArnCommand({ Arn: 'arn:aws:lambda:local:0:layer:l:1' });
  await refused(client.send(byArn), ['ResourceNotFoundException', 404]);
  const provisioned = { ...of, Qualifier: '$LATEST' };
  await refused(client.send(new sdk.GetProvisionedConcurrencyConfigCommand(provisioned)), [
    'ProvisionedConcurrencyConfigNotFoundException',
    404,
  ]);
  const configs = await client.send(new sdk.ListProvisionedConcurrencyConfigsCommand(of));
  assert.deepEqual(configs.ProvisionedConcurrencyConfigs, []);
  const signing = await client.send(new sdk.GetFunctionCodeSigningConfigCommand(of));
  assert.equal(signing.CodeSigningConfigArn, undefined);
  const managed = await client.send(new sdk.GetRuntimeManagementConfigCommand(of));
  assert.equal(managed.UpdateRuntimeOn, 'Auto');
});
