/** The function service, put together: the half that manages functions and the half that runs them. */

import { randomUUID } from 'node:crypto';

import { InternalError, defined, systemClock, systemTimers } from '../base/index.ts';
import type { FunctionRecord } from '../catalog/index.ts';
import { CodePublications } from './control/code-publications.ts';
import type { CodeDependencies } from './control/function-code.ts';
import type { CodeLease } from './running/function-instance.ts';
import { createFunctionRegistry } from './control/function-registry.ts';
import { FunctionRunner, type FunctionRunnerOptions } from './running/function-runner.ts';
import type { FunctionRuns } from './function-runs.ts';
import type { FunctionService } from './function-service.ts';

export interface FunctionServiceOptions
  extends
    Omit<FunctionRunnerOptions, 'runtimeImage' | 'openCode'>,
    Omit<CodeDependencies, 'catalog'> {}

/**
 * Close it when done: it holds mounts and processes. The catalog, mounts, sandboxes, archives and runtimes stay the
 * caller's.
 */
export function createFunctionService(options: FunctionServiceOptions): FunctionService {
  const { images, archives, runtimes, codeStorageMaxBytes, ...running } = options;
  const runner = new FunctionRunner({
    ...running,
    ...defined({
      runtimeImage: runtimes && ((runtime: string) => runtimes.find(runtime)),
      openCode: archives && codeOpener(archives),
    }),
  });
  const { catalog, clock = systemClock, timers = systemTimers, newId = randomUUID, log } = running;
  const shared = {
    ...defined({ images, archives, runtimes, codeStorageMaxBytes }),
    catalog,
    clock,
    timers,
    newId,
    log,
    checkStart: runner.checkStart.bind(runner),
  };
  const publications = new CodePublications(shared);
  const control = createFunctionRegistry({
    ...shared,
    publications,
    running: runner,
    concurrencyMax: runner.instancesMax,
  });
  return {
    ...control,
    ...runsOf(runner),
    takeUpPublications: async () => await publications.resume(),
    publicationsSettled: async (of) => await publications.settled(of),
    close: async () => {
      await publications.close();
      await runner.close();
    },
  };
}

function codeOpener(archives: NonNullable<FunctionServiceOptions['archives']>) {
  return async ({ tenant, name, code, revisionId }: FunctionRecord): Promise<CodeLease> => {
    if (code.packageType === 'Zip') {
      return await archives.unpack({ tenant, ...code }, { sharedBy: revisionId });
    }
    throw new InternalError(`Function "${name}" is an image, which is not unpacked`);
  };
}

/** The methods of a class as properties of their own. */
function runsOf(runner: FunctionRunner): FunctionRuns & Pick<FunctionService, 'initialise'> {
  return {
    invoke: (request) => runner.invoke(request),
    invokeStreaming: (request) => runner.invokeStreaming(request),
    invokeLater: (request) => runner.invokeLater(request),
    takeUpEvents: () => runner.takeUpEvents(),
    checkInvoke: (request) => runner.checkInvoke(request),
    fetch: (request) => runner.fetch(request),
    logs: (tenant, name, maxBytes) => runner.logs(tenant, name, maxBytes),
    startLimits: () => runner.startLimits(),
    endIdle: () => runner.endIdle(),
    initialise: (of) => runner.initialise(of),
    close: () => runner.close(),
  };
}
