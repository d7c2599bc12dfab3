import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { VirtualTime } from '../../base/testing/virtual-time.ts';
import { FunctionThrottledError } from '../errors.ts';
import { coldStartLimits, StartGate, type ColdStart } from './start-gate.ts';

function refusalOf(gate: StartGate, tenant: string): FunctionThrottledError {
  try {
    gate.enter({ tenant, functionId: `${tenant}/f` });
  } catch (thrown) {
    if (thrown instanceof FunctionThrottledError) return thrown;
    throw thrown;
  }
  assert.fail('The start was let in');
}

test('a start is refused exactly when its tenant or the worker is at its limit', () => {
  const tenants = ['a', 'b', 'c'] as const;
  const limit = fc.integer({ min: 1, max: 6 });
  const steps = fc.array(
    fc.tuple(fc.constantFrom('enter', 'enter', 'end'), fc.constantFrom(...tenants)),
    { maxLength: 60, size: 'max' },
  );
  const property = fc.property(
    limit,
    limit,
    steps,
    (coldStartsMax, coldStartsPerTenantMax, story) => {
      const gate = new StartGate({ coldStartsMax, coldStartsPerTenantMax }, new VirtualTime());
      const open = new Map<string, ColdStart[]>(tenants.map((tenant) => [tenant, []]));
      const refused = { worker: 0, tenant: 0 };
      for (const [action, tenant] of story) {
        const own = open.get(tenant) ?? [];
        const all = [...open.values()].flat();
        if (action === 'end') {
          const ended = own.shift();
          ended?.[Symbol.dispose]();
          ended?.[Symbol.dispose](); // gives back one place all the same
        } else if (own.length >= coldStartsPerTenantMax) {
          assert.equal(refusalOf(gate, tenant).details?.['limit'], 'cold_starts_per_tenant_max');
          refused.tenant += 1;
        } else if (all.length >= coldStartsMax) {
          assert.equal(refusalOf(gate, tenant).details?.['limit'], 'cold_starts_max');
          refused.worker += 1;
        } else {
          own.push(gate.enter({ tenant, functionId: `${tenant}/f` }));
        }
        const snapshot = gate.snapshot();
        const inFlight = [...open].map(([name, starts]) => [name, starts.length] as const);
        const byTenant = inFlight.filter(([, count]) => count > 0);
        assert.deepEqual(snapshot.inFlightByTenant, Object.fromEntries(byTenant));
        assert.equal(snapshot.inFlight, [...open.values()].flat().length);
        assert.equal(snapshot.refused.cold_starts_max, refused.worker);
        assert.equal(snapshot.refused.cold_starts_per_tenant_max, refused.tenant);
      }
    },
  );
  fc.assert(property, { numRuns: 200 });
});

test("a refusal is Lambda's TooManyRequestsException and names the limit and the wait", async () => {
  const time = new VirtualTime();
  const gate = new StartGate({ coldStartsMax: 2, coldStartsPerTenantMax: 1 }, time);
  const slow = gate.enter({ tenant: 'a', functionId: 'a/f' });
  const first = refusalOf(gate, 'a');
  assert.equal(
    first.message,
    'Cannot run another invoke of function "a/f": its tenant\'s cold starts in flight are at ' +
      'their limit of 1 ("functions.cold_starts_per_tenant_max"); try again in 1 s',
  );
  assert.deepEqual(first.details, {
    httpStatus: 429,
    lambdaError: 'TooManyRequestsException',
    reason: 'ConcurrentInvocationLimitExceeded',
    limit: 'cold_starts_per_tenant_max',
    retryAfterSeconds: 1,
  });
  assert.equal(first.retryable, true);
  await time.pass(2500);
  slow[Symbol.dispose]();
  using _a = gate.enter({ tenant: 'a', functionId: 'a/f' });
  using _b = gate.enter({ tenant: 'b', functionId: 'b/f' });
  assert.match(
    refusalOf(gate, 'c').message,
    /limit of 2 \("functions.cold_starts_max"\).* in 3 s$/,
  );
});

test("a function's own limit is what Lambda calls reserved concurrency", () => {
  const limits = { coldStartsMax: 1, coldStartsPerTenantMax: 1 };
  const gate = new StartGate(limits, new VirtualTime());
  const { details } = gate.refusal('a/f', 'instances_per_function_max', 50);
  assert.equal(details?.['reason'], 'ReservedFunctionConcurrentInvocationLimitExceeded');
  assert.equal(gate.snapshot().refused.instances_per_function_max, 1);
});

test('by default starts are limited by the origin or by cores, and no tenant may have all', () => {
  const limits = (cores: number) => Object.values(coldStartLimits({}, { cores }));
  assert.deepEqual(limits(2), [16, 12]);
  assert.deepEqual(limits(32), [64, 48]);
  const chosen = coldStartLimits({ coldStartsMax: 1 }, { cores: 2 });
  assert.deepEqual(chosen, { coldStartsMax: 1, coldStartsPerTenantMax: 1 });
});
