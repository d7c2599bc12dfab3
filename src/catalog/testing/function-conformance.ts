/** What every catalog must do with versions, aliases, settings and events of functions. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { compareStrings, errorCode } from '../../base/index.ts';
import type { Catalog } from '../catalog.ts';
import type {
  AliasRecord,
  EventRunner,
  FunctionRecord,
  FunctionSettings,
  QueuedEvent,
} from '../function-records.ts';
import { functionRecord, functionSettings, imageRecord, manifestIdOf } from './records.ts';

const hello = { tenant: 'default', name: 'hello' };

function aliasOf(fields: Partial<AliasRecord> = {}): AliasRecord {
  return {
    tenant: 'default',
    functionName: 'hello',
    name: 'live',
    version: '$LATEST',
    description: '',
    additionalVersionWeights: {},
    revisionId: 'r',
    ...fields,
  };
}

function eventOf(fields: Partial<QueuedEvent> = {}): QueuedEvent {
  return {
    id: 'e1',
    tenant: 'default',
    functionName: 'hello',
    payload: Buffer.from('{}'),
    acceptedAtMs: 1000,
    dueAtMs: 1000,
    failedAttempts: 0,
    ...fields,
  };
}

async function rejectsWith(code: string, work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (thrown) => errorCode(thrown) === code);
}

/** With bytes as text, which compares by what it holds. */
function plain(events: readonly QueuedEvent[]): readonly object[] {
  return events.map(({ payload, ...event }) => ({
    ...event,
    payload: Buffer.from(payload).toString('hex'),
  }));
}

type InFresh = (work: (catalog: Catalog) => Promise<void>) => () => Promise<void>;

/** `inFresh` gives a catalog of its own to each call of what it returns. */
export function functionTests(inFresh: InFresh): void {
  const withImage: InFresh = (work) =>
    inFresh(async (catalog) => {
      await catalog.addImage(imageRecord());
      await work(catalog);
    });
  recordTests(withImage);
  eventTests(withImage);
  claimTests(withImage);
  test('any sequence of changes of functions leaves what a model of them holds', async () => {
    const steps = fc.array(step, { maxLength: 40, size: 'max' });
    const property = fc.asyncProperty(steps, async (sequence) => {
      const comparing = withImage(async (catalog) => {
        const model = new Model();
        for (const [index, one] of sequence.entries()) {
          const got = await outcome(take(catalog, one, `step-${index}`));
          assert.deepEqual(got, model.take(one), JSON.stringify(one));
        }
        await compare(catalog, model);
      });
      await comparing();
    });
    await fc.assert(property, { numRuns: 60 });
  });
}

function recordTests(inFresh: InFresh): void {
  test(
    'every field of a version, an alias and the settings comes back, also of a kind to come',
    inFresh(async (catalog) => {
      const record = {
        ...functionRecord({
          code: {
            packageType: 'Zip',
            runtime: 'nodejs24.x',
            handler: 'a.b',
            archiveId: 'a',
            rootId: 'r1',
          },
          codeSizeBytes: 2 ** 41,
          state: 'Pending',
          stateReason: { code: 'Creating', message: 'ö' },
          lastUpdateStatus: 'InProgress',
          lastUpdateReason: { code: 'c', message: 'm' },
          nextImageUri: 'next',
          webServer: { port: 1, readyPath: '/' },
        }),
        notYetThought: ['of'],
      };
      const settings: FunctionSettings = functionSettings({
        tags: { 'a b': '"' },
        reservedConcurrency: 0,
        urls: { '': { authType: 'NONE', invokeMode: 'BUFFERED', createdAtMs: 1, updatedAtMs: 2 } },
        eventInvoke: { live: { retriesMax: 1, eventAgeMaxSeconds: 60, updatedAtMs: 3 } },
        policies: {
          '': { revisionId: 'p', permissions: [{ statementId: 's', action: '*', principal: '*' }] },
        },
        versionsPublished: 7,
      });
      await catalog.addFunction(record, settings);
      assert.deepEqual(await catalog.findFunction('default', 'hello'), record);
      assert.deepEqual(await catalog.findFunctionSettings('default', 'hello'), settings);
      assert.deepEqual(await catalog.listUnfinishedFunctions(), [record]);
      const alias = aliasOf({ description: 'x', revisionId: 'y' });
      await catalog.addAlias(alias);
      assert.deepEqual(await catalog.findAlias('default', 'hello', 'live'), alias);
    }),
  );

  test(
    'findInvoked() gives all that an invoke needs, the alias’s own version first',
    inFresh(async (catalog) => {
      await catalog.addFunction(functionRecord(), functionSettings());
      const publish = async (memoryMb: number): Promise<FunctionRecord> => {
        await catalog.updateFunction({ ...hello, version: '$LATEST' }, (record) => ({
          ...record,
          memoryMb,
          revisionId: `m${memoryMb}`,
        }));
        return await catalog.publishVersion(hello, (latest) => latest, { isSame: () => false });
      };
      const [first, second] = [await publish(256), await publish(512)];
      const alias = aliasOf({ version: '2', additionalVersionWeights: { 1: 0.5 } });
      await catalog.addAlias(alias);
      const settings = functionSettings({ versionsPublished: 2 });
      const common = { settings, images: [imageRecord()], reservedConcurrencyOfTenant: 0 };
      assert.deepEqual(await catalog.findInvoked('default', 'hello', 'live'), {
        ...common,
        alias,
        versions: [second, first],
      });
      assert.deepEqual(await catalog.findInvoked('default', 'hello', '1'), {
        ...common,
        versions: [first],
      });
      for (const qualifier of ['3', 'absent', '0', '01', '1.0', '', '99999999999999999999']) {
        assert.equal(
          await catalog.findInvoked('default', 'hello', qualifier),
          undefined,
          qualifier,
        );
      }
      assert.equal(await catalog.findInvoked('other', 'hello'), undefined);
    }),
  );

  test(
    'a version whose image is being published has none, and its image cannot be removed later',
    inFresh(async (catalog) => {
      const code = { packageType: 'Image', imageUri: 'x' } as const;
      await catalog.addFunction(functionRecord({ code }), functionSettings());
      const found = await catalog.findInvoked('default', 'hello');
      assert.deepEqual(found?.images, []);
      assert.equal(await catalog.removeImage('default', manifestIdOf(1)), true);
      await rejectsWith(
        'ERR_CATALOG_NO_SUCH_IMAGE',
        catalog.updateFunction({ ...hello, version: '$LATEST' }, (record) => ({
          ...record,
          code: { ...code, manifestId: manifestIdOf(1) },
        })),
      );
      assert.deepEqual((await catalog.findFunction('default', 'hello'))?.code, code);
    }),
  );

  test(
    'lists go on after a marker that is gone, and end',
    inFresh(async (catalog) => {
      for (const name of ['c', 'a', 'B', 'b']) {
        await catalog.addFunction(functionRecord({ name }), functionSettings({ name }));
      }
      const names: string[] = [];
      let page = await catalog.listFunctions('default', { itemsMax: 1 });
      for (;;) {
        names.push(...page.items.map((record) => record.name));
        const { nextMarker: marker } = page;
        if (marker === undefined) break;
        await catalog.removeFunction('default', marker);
        page = await catalog.listFunctions('default', { itemsMax: 1, marker });
      }
      assert.deepEqual(names, ['B', 'a', 'b', 'c']);
      const rest = await catalog.listFunctions('default', { itemsMax: 1, marker: 'zz' });
      assert.deepEqual(rest, { items: [] });
    }),
  );
}

function eventTests(inFresh: InFresh): void {
  test(
    'events come back as they were, any bytes, and go with their function',
    inFresh(async (catalog) => {
      await rejectsWith('ERR_CATALOG_NO_SUCH_FUNCTION', catalog.addEvent(eventOf()));
      await catalog.addFunction(functionRecord(), functionSettings());
      const payload = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      const full = { id: 'e2', qualifier: 'live', clientContext: '{}', traceId: 't', payload };
      const events = [eventOf(), eventOf(full)];
      for (const event of events) await catalog.addEvent(event);
      const due = await catalog.dueEvents({ runnerId: 'r', nowMs: 1000, ofEachTenantMax: 5 });
      assert.deepEqual(due, [
        { id: 'e1', tenant: 'default' },
        { id: 'e2', tenant: 'default' },
      ]);
      const of = { ids: ['e2', 'e1', 'gone'], nowMs: 1000 };
      const claimed = await catalog.claimEvents({ id: 'r', beat: 1 }, of);
      assert.deepEqual(plain(claimed), plain(events.toReversed()));
      assert.equal(await catalog.countEvents('default'), 2);
      assert.equal(await catalog.countEvents('other'), 0);
      await catalog.removeFunction('default', 'hello');
      assert.equal(await catalog.countEvents('default'), 0);
    }),
  );

  test(
    'dueEvents() gives each tenant its share, those due longest first',
    inFresh(async (catalog) => {
      for (const tenant of ['default', 'other']) {
        const code = { packageType: 'Image', imageUri: 'x' } as const;
        await catalog.addFunction(functionRecord({ tenant, code }), functionSettings({ tenant }));
      }
      const add = async (id: string, dueAtMs: number, tenant = 'default') =>
        await catalog.addEvent(eventOf({ id, dueAtMs, tenant }));
      for (const [id, dueAtMs] of [
        ['c', 3],
        ['a', 1],
        ['b', 2],
        ['d', 9],
      ] as const)
        await add(id, dueAtMs);
      await add('x', 4, 'other');
      const due = async (nowMs: number, max: number) =>
        (await catalog.dueEvents({ runnerId: 'r', nowMs, ofEachTenantMax: max })).map(
          (event) => event.id,
        );
      assert.deepEqual(await due(8, 2), ['a', 'b', 'x']);
      assert.deepEqual(await due(8, 9), ['a', 'b', 'c', 'x']);
      assert.deepEqual(await due(0, 9), []);
      assert.equal(await catalog.nextEventDueMs(4), 9);
      assert.equal(await catalog.nextEventDueMs(9), undefined);
      const of = (id: string) => ({ id, runnerId: 'r' });
      await catalog.postponeEvent(of('a'), { dueAtMs: 100, failedAttempts: 2 });
      await catalog.postponeEvent(of('gone'), { dueAtMs: 100, failedAttempts: 2 });
      await catalog.removeEvent(of('b'));
      await catalog.removeEvent(of('b'));
      assert.deepEqual(await due(99, 9), ['c', 'x', 'd']);
      assert.deepEqual(await due(100, 9), ['c', 'x', 'd', 'a']);
      const runner = { id: 'r', beat: 1 };
      const tooEarly = await catalog.claimEvents(runner, { ids: ['a'], nowMs: 99 });
      assert.deepEqual(tooEarly, []);
      const [claimed] = await catalog.claimEvents(runner, { ids: ['a'], nowMs: 100 });
      assert.equal(claimed?.failedAttempts, 2);
    }),
  );
}

/** Two runners, and what each of them may have. */
function claimTests(inFresh: InFresh): void {
  const [a, b] = [
    { id: 'a', beat: 1 },
    { id: 'b', beat: 1 },
  ];
  const inQueue = (work: (catalog: Catalog) => Promise<void>) =>
    inFresh(async (catalog) => {
      await catalog.addFunction(functionRecord(), functionSettings());
      for (const id of ['e1', 'e2', 'e3']) await catalog.addEvent(eventOf({ id }));
      await work(catalog);
    });
  const dueOf = async (catalog: Catalog, runnerId: string) =>
    (await catalog.dueEvents({ runnerId, nowMs: 1000, ofEachTenantMax: 9 })).map(({ id }) => id);
  const claim = async (catalog: Catalog, runner: EventRunner, ids: readonly string[]) =>
    (await catalog.claimEvents(runner, { ids, nowMs: 1000 })).map(({ id }) => id);

  test(
    'an event that one runner has claimed is due for nobody else, nor theirs to claim or to change',
    inQueue(async (catalog) => {
      assert.deepEqual(await claim(catalog, a, ['e1', 'e2']), ['e1', 'e2']);
      assert.deepEqual(await dueOf(catalog, 'a'), ['e1', 'e2', 'e3']);
      assert.deepEqual(await dueOf(catalog, 'b'), ['e3']);
      assert.deepEqual(await claim(catalog, b, ['e1', 'e3']), ['e3']);
      assert.deepEqual(await claim(catalog, a, ['e1', 'e2', 'e3']), ['e1', 'e2']);
      await catalog.removeEvent({ id: 'e1', runnerId: 'b' });
      await catalog.postponeEvent({ id: 'e2', runnerId: 'b' }, { dueAtMs: 0, failedAttempts: 9 });
      assert.deepEqual(await dueOf(catalog, 'a'), ['e1', 'e2']);
    }),
  );

  test(
    'claims go with their event, with its being postponed, with its function, and with their runner',
    inQueue(async (catalog) => {
      await claim(catalog, a, ['e1', 'e2', 'e3']);
      await catalog.removeEvent({ id: 'e1', runnerId: 'a' });
      await catalog.postponeEvent({ id: 'e2', runnerId: 'a' }, { dueAtMs: 1, failedAttempts: 1 });
      assert.deepEqual(await dueOf(catalog, 'b'), ['e2']);
      assert.equal(await catalog.removeEventRunner('a'), 1);
      assert.equal(await catalog.removeEventRunner('a'), 0);
      assert.deepEqual(await dueOf(catalog, 'b'), ['e2', 'e3']);
      await claim(catalog, b, ['e2', 'e3']);
      await catalog.removeFunction('default', 'hello');
      assert.equal(await catalog.removeEventRunner('b'), 0);
    }),
  );

  test(
    'a runner is removed only where it has given no sign of life since, and one that comes back has what nobody took',
    inQueue(async (catalog) => {
      await claim(catalog, a, ['e1', 'e2']);
      await catalog.beatEventRunner({ id: 'a', beat: 2 }, ['e1']);
      assert.deepEqual(await catalog.listEventRunners(), [{ id: 'a', beat: 2 }]);
      assert.equal(await catalog.removeEventRunner('a', 1), 0);
      assert.deepEqual(await dueOf(catalog, 'b'), ['e3']);
      assert.equal(await catalog.removeEventRunner('a', 2), 2);
      assert.deepEqual(await claim(catalog, b, ['e2']), ['e2']);
      await catalog.beatEventRunner({ id: 'a', beat: 3 }, ['e1', 'e2', 'gone']);
      assert.deepEqual(await dueOf(catalog, 'b'), ['e2', 'e3']);
      await catalog.removeEvent({ id: 'e3', runnerId: 'nobody' });
      assert.deepEqual(await dueOf(catalog, 'a'), ['e1']);
    }),
  );
}

type Step =
  | { readonly do: 'add' | 'event'; readonly name: string }
  | { readonly do: 'memory' | 'reserve'; readonly name: string; readonly value: number }
  | { readonly do: 'publish'; readonly name: string }
  | { readonly do: 'remove'; readonly name: string; readonly version: string | undefined }
  | { readonly do: 'alias'; readonly name: string; readonly version: string; readonly also: string }
  | { readonly do: 'moveAlias'; readonly name: string; readonly version: string }
  | { readonly do: 'removeAlias'; readonly name: string };

const name = fc.constantFrom('f', 'g');
const version = fc.constantFrom('$LATEST', '1', '2', '3');
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constantFrom('add', 'event'), name }),
  fc.record({
    do: fc.constantFrom('memory', 'reserve'),
    name,
    value: fc.integer({ min: 128, max: 130 }),
  }),
  { weight: 2, arbitrary: fc.record({ do: fc.constant('publish' as const), name }) },
  fc.record({
    do: fc.constant('remove' as const),
    name,
    version: fc.constantFrom(undefined, '1', '2', '3'),
  }),
  fc.record({ do: fc.constant('alias' as const), name, version, also: version }),
  fc.record({ do: fc.constant('moveAlias' as const), name, version }),
  fc.record({ do: fc.constant('removeAlias' as const), name }),
);

function outcome(work: Promise<unknown>): Promise<unknown> {
  return work.catch((thrown: unknown) => errorCode(thrown));
}

/** The catalog's answer, as far as the model tells. `id` is fresh. */
async function take(catalog: Catalog, one: Step, id: string): Promise<unknown> {
  const of = { tenant: 'default', name: one.name };
  const aliasName = { tenant: 'default', functionName: one.name, name: 'live' };
  switch (one.do) {
    case 'add':
      return await catalog.addFunction(functionRecord(of), functionSettings(of));
    case 'event':
      return await catalog.addEvent(eventOf({ id, functionName: one.name }));
    case 'memory':
      await catalog.updateFunction({ ...of, version: '$LATEST' }, (record) => ({
        ...record,
        memoryMb: one.value,
        revisionId: id,
      }));
      return undefined;
    case 'reserve': {
      let ofOthers = -1;
      await catalog.updateFunctionSettings(of, (settings, others) => {
        ofOthers = others.reservedConcurrency;
        return { ...settings, reservedConcurrency: one.value };
      });
      return ofOthers;
    }
    case 'publish': {
      const isSame = (made: FunctionRecord, last: FunctionRecord): boolean =>
        made.memoryMb === last.memoryMb;
      const options = { isSame };
      const make = (latest: FunctionRecord): FunctionRecord => ({
        ...latest,
        revisionId: 'published',
      });
      return (await catalog.publishVersion(of, make, options)).version;
    }
    case 'remove':
      return await catalog.removeFunction('default', one.name, one.version);
    case 'alias': {
      const additionalVersionWeights = { [one.also]: 0.5 };
      const fields = { functionName: one.name, version: one.version, additionalVersionWeights };
      return await catalog.addAlias(aliasOf(fields));
    }
    case 'moveAlias':
      await catalog.updateAlias(aliasName, (alias) => ({ ...alias, version: one.version }));
      return undefined;
    case 'removeAlias':
      return await catalog.removeAlias('default', one.name, 'live');
  }
}

interface ModelFunction {
  /** Memory by version, `$LATEST` first and numbers in order. */
  readonly versions: Map<string, number>;
  published: number;
  reserved: number;
  events: number;
  alias: { version: string; also: string } | undefined;
}

const noFunction = 'ERR_CATALOG_NO_SUCH_FUNCTION';

/** Functions as a child could keep them on paper. */
class Model {
  readonly functions = new Map<string, ModelFunction>();

  take(one: Step): unknown {
    const there = this.functions.get(one.name);
    if (one.do === 'add') return this.#add(one.name, there);
    if (there === undefined) return this.#answerWithout(one);
    switch (one.do) {
      case 'event':
        there.events += 1;
        return undefined;
      case 'memory':
        there.versions.set('$LATEST', one.value);
        return undefined;
      case 'reserve':
        there.reserved = one.value;
        return (
          [...this.functions.values()].reduce((sum, { reserved }) => sum + reserved, 0) - one.value
        );
      case 'publish':
        return publishIn(there);
      case 'remove':
        return this.#remove(one.name, there, one.version);
      case 'alias':
        if (!there.versions.has(one.version) || !there.versions.has(one.also)) return noFunction;
        if (there.alias !== undefined) return 'ERR_CATALOG_ALIAS_EXISTS';
        there.alias = { version: one.version, also: one.also };
        return undefined;
      case 'moveAlias':
        if (there.alias === undefined) return 'ERR_CATALOG_NO_SUCH_ALIAS';
        if (!there.versions.has(one.version)) return noFunction;
        there.alias.version = one.version;
        return undefined;
      case 'removeAlias': {
        const wasThere = there.alias !== undefined;
        there.alias = undefined;
        return wasThere;
      }
    }
  }

  #add(added: string, there: ModelFunction | undefined): unknown {
    if (there !== undefined) return 'ERR_CATALOG_FUNCTION_EXISTS';
    const versions = new Map([['$LATEST', 128]]);
    this.functions.set(added, { versions, published: 0, reserved: 0, events: 0, alias: undefined });
    return undefined;
  }

  #answerWithout(one: Step): unknown {
    if (one.do === 'remove' || one.do === 'removeAlias') return false;
    return one.do === 'moveAlias' ? 'ERR_CATALOG_NO_SUCH_ALIAS' : noFunction;
  }

  #remove(removed: string, there: ModelFunction, number: string | undefined): unknown {
    if (number === undefined) return this.functions.delete(removed);
    const { alias } = there;
    if (alias?.version === number || alias?.also === number) return 'ERR_CATALOG_VERSION_IN_USE';
    return there.versions.delete(number);
  }
}

function publishIn(there: ModelFunction): string {
  const [last] = [...there.versions.keys()].filter((key) => key !== '$LATEST').slice(-1);
  const memory = there.versions.get('$LATEST') ?? 0;
  if (last !== undefined && there.versions.get(last) === memory) return last;
  there.published += 1;
  there.versions.set(String(there.published), memory);
  return String(there.published);
}

async function compare(catalog: Catalog, model: Model): Promise<void> {
  const names = [...model.functions.keys()].sort(compareStrings);
  const listed = await catalog.listFunctions('default', { itemsMax: 10 });
  assert.deepEqual(
    listed.items.map((record) => record.name),
    names,
  );
  for (const [functionName, expected] of model.functions) {
    const { items } = await catalog.listVersions('default', functionName, { itemsMax: 100 });
    assert.deepEqual(
      items.map((record) => [record.version, record.memoryMb]),
      [...expected.versions],
    );
    const aliases = await catalog.listAliases('default', functionName, { itemsMax: 10 });
    assert.deepEqual(
      aliases.items.map((alias) => [alias.version, Object.keys(alias.additionalVersionWeights)]),
      expected.alias === undefined ? [] : [[expected.alias.version, [expected.alias.also]]],
    );
    const settings = await catalog.findFunctionSettings('default', functionName);
    assert.equal(settings?.versionsPublished, expected.published);
  }
  const functions = [...model.functions.values()];
  assert.equal(
    await catalog.countEvents('default'),
    functions.reduce((sum, { events }) => sum + events, 0),
  );
}
