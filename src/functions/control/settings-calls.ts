/** The part of FunctionControl that is about what a function has whatever its version, and its tenant. */

import {
  defaultEventInvoke,
  latestVersion,
  type FunctionSettings,
  type FunctionUrl,
} from '../../catalog/index.ts';
import { without } from './alias-calls.ts';
import { FunctionBadConfigError, FunctionNotFoundError } from '../errors.ts';
import type { FunctionControl, FunctionRef, FunctionUrlRequest } from '../function-control.ts';
import { checkEventInvoke, checkNames, checkTags, checkTenantName } from '../function-rules.ts';
import { asControl, type RegistryDependencies } from './registry-deps.ts';

type SettingsCalls = Pick<
  FunctionControl,
  | 'setReservedConcurrency'
  | 'changeTags'
  | 'setEventInvoke'
  | 'setUrl'
  | 'changePolicy'
  | 'accountSettings'
>;

/** The part of a tenant's concurrency that no reservation may take: Lambda's 100 of 1,000. */
const unreservedShare = 0.1;
const unreservedMaxLambda = 100;

/** What has to stay for functions without a reservation. */
export function unreservedMin(concurrencyMax: number): number {
  const share = Math.ceil(concurrencyMax * unreservedShare);
  return Math.min(share, unreservedMaxLambda);
}

export function settingsCalls(deps: RegistryDependencies): SettingsCalls {
  return {
    setReservedConcurrency: async (of, reserved) => await reserve(deps, of, reserved),
    changeTags: async (of, { set = {}, remove = [] }) => {
      await change(deps, of, (settings) => {
        const kept = Object.entries(settings.tags).filter(([key]) => !remove.includes(key));
        const tags = { ...Object.fromEntries(kept), ...set };
        checkTags(of.name, tags);
        return { ...settings, tags };
      });
    },
    setEventInvoke: async (of, request) => {
      await checkQualifier(deps, of);
      const key = of.qualifier ?? '';
      const updatedAtMs = deps.clock.nowMs();
      await change(deps, of, (settings) => {
        const others = without(settings.eventInvoke, key);
        if (request === undefined) return { ...settings, eventInvoke: others };
        const eventInvoke = { ...defaultEventInvoke, ...request, updatedAtMs };
        checkEventInvoke(of.name, eventInvoke);
        return { ...settings, eventInvoke: { ...others, [key]: eventInvoke } };
      });
    },
    setUrl: async (of, request) => {
      const key = await urlKey(deps, of);
      const nowMs = deps.clock.nowMs();
      const after = await change(deps, of, (settings) => {
        const others = without(settings.urls, key);
        if (request === undefined) return { ...settings, urls: others };
        const url = urlAfter(of.name, settings.urls[key], request, nowMs);
        return { ...settings, urls: { ...others, [key]: url } };
      });
      return after.urls[key];
    },
    changePolicy: async (of, changed) => {
      await checkQualifier(deps, of);
      const key = of.qualifier ?? '';
      const revisionId = deps.newId();
      await change(deps, of, (settings) => {
        const before = Object.hasOwn(settings.policies, key) ? settings.policies[key] : undefined;
        const permissions = changed(before);
        const others = without(settings.policies, key);
        if (permissions.length === 0) return { ...settings, policies: others };
        return { ...settings, policies: { ...others, [key]: { revisionId, permissions } } };
      });
    },
    accountSettings: async (tenant) => {
      checkTenantName(tenant);
      const totals = await deps.catalog.functionTotals(tenant);
      const { functionCount, codeSizeBytes, reservedConcurrency } = totals;
      return {
        concurrentExecutionsMax: deps.concurrencyMax,
        unreservedConcurrentExecutions: deps.concurrencyMax - reservedConcurrency,
        functionCount,
        codeSizeBytes,
      };
    },
  };
}

async function change(
  { catalog }: RegistryDependencies,
  of: FunctionRef,
  changed: Parameters<typeof catalog.updateFunctionSettings>[1],
): Promise<FunctionSettings> {
  checkNames(of);
  return await asControl(of, catalog.updateFunctionSettings(of, changed));
}

async function reserve(
  deps: RegistryDependencies,
  of: FunctionRef,
  reserved: number | undefined,
): Promise<void> {
  if (reserved !== undefined && !(Number.isInteger(reserved) && reserved >= 0)) {
    throw new FunctionBadConfigError(of.name, 'its reserved concurrency must be 0 or more');
  }
  const { concurrencyMax } = deps;
  const leastLeft = unreservedMin(concurrencyMax);
  await change(deps, of, ({ reservedConcurrency: _before, ...settings }, others) => {
    if (reserved === undefined) return settings;
    const left = concurrencyMax - others.reservedConcurrency - reserved;
    if (left < leastLeft && reserved > 0) {
      throw new FunctionBadConfigError(
        of.name,
        `Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [${leastLeft}].`,
      );
    }
    return { ...settings, reservedConcurrency: reserved };
  });
}

/** Throws `ERR_FUNCTION_NOT_FOUND` where the qualifier names nothing. */
async function checkQualifier({ catalog }: RegistryDependencies, of: FunctionRef): Promise<void> {
  checkNames(of);
  const { tenant, name, qualifier } = of;
  if (qualifier === undefined) return;
  const found = await catalog.findInvoked(tenant, name, qualifier);
  if (found === undefined) throw new FunctionNotFoundError(tenant, name, qualifier);
}

/** Source: CreateFunctionUrlConfig, `Qualifier`: "The alias name." */
async function urlKey(deps: RegistryDependencies, of: FunctionRef): Promise<string> {
  const { tenant, name, qualifier } = of;
  checkNames(of);
  if (qualifier === undefined) return '';
  if (qualifier === latestVersion || /^\d+$/.test(qualifier)) {
    throw new FunctionBadConfigError(name, 'a URL belongs to the function itself or to an alias');
  }
  const alias = await deps.catalog.findAlias(tenant, name, qualifier);
  if (alias === undefined) throw new FunctionNotFoundError(tenant, name, qualifier);
  return qualifier;
}

function urlAfter(
  name: string,
  before: FunctionUrl | undefined,
  request: FunctionUrlRequest,
  nowMs: number,
): FunctionUrl {
  const authType = request.authType ?? before?.authType ?? 'AWS_IAM';
  const invokeMode = request.invokeMode ?? before?.invokeMode ?? 'BUFFERED';
  if (!['NONE', 'AWS_IAM'].includes(authType)) {
    throw new FunctionBadConfigError(name, "its URL's AuthType must be NONE or AWS_IAM");
  }
  if (!['BUFFERED', 'RESPONSE_STREAM'].includes(invokeMode)) {
    throw new FunctionBadConfigError(
      name,
      "its URL's InvokeMode must be BUFFERED or RESPONSE_STREAM",
    );
  }
  const cors = request.cors ?? before?.cors ?? 'none';
  return {
    authType,
    invokeMode,
    ...(cors !== 'none' && { cors }),
    createdAtMs: before?.createdAtMs ?? nowMs,
    updatedAtMs: nowMs,
  };
}
