/** Makes a factory of sandboxes out of what this machine has. */

import { silentLog, type Log } from '../base/index.ts';
import { builtinLauncher } from './launchers/builtin-launcher.ts';
import { canFreeze, detectCgroups } from './limits/cgroups.ts';
import { createSandbox } from './create-sandbox.ts';
import { SandboxRuntimeMissingError } from './errors.ts';
import type { Launcher } from './launchers/launcher.ts';
import { ociLauncher } from './launchers/oci-launcher.ts';
import { makePlaceAhead, ReadyPlaces } from './place.ts';
import { probeSandboxRuntimes } from './launchers/probe.ts';
import { sweepSandboxes } from './sandbox-directories.ts';
import { SandboxNetworks } from './network/sandbox-network.ts';
import type { SandboxFactory } from './sandbox.ts';
import { utilLinuxLauncher } from './launchers/util-linux-launcher.ts';

export interface SandboxFactoryOptions {
  /** An absolute path; created when missing. Several processes may share it. */
  readonly stateDir: string;
  /** Default `auto`: the first of `probeSandboxRuntimes` that is usable; `factory.runtime` says which. */
  readonly runtime?: 'auto' | SandboxFactory['runtime'];
  /** What external extensions, with the runtime, have to end in. Default: 2,000, as in Lambda. */
  readonly shutDownMs?: number;
  /**
   * Sandboxes to get ready ahead, as far as that is possible without knowing what they will run.
   * Default 0.
   */
  readonly readyCount?: number;
  readonly log?: Log;
}

/**
 * A factory of sandboxes for this machine. Removes what workers that are no more have left in
 * `stateDir`. Dispose of it once its sandboxes are. Throws `ERR_SANDBOX_RUNTIME_MISSING` with the reason for each runtime.
 */
export async function createSandboxFactory(
  options: SandboxFactoryOptions,
): Promise<SandboxFactory & AsyncDisposable> {
  const wanted = options.runtime ?? 'auto';
  const probes = (await probeSandboxRuntimes()).filter(
    ({ runtime }) => wanted === 'auto' || runtime === wanted,
  );
  const chosen = probes.find(({ usable }) => usable);
  if (chosen === undefined) {
    const reasons = probes.map(({ runtime, reason }) => `${runtime}: ${reason ?? 'unusable'}`);
    throw new SandboxRuntimeMissingError(wanted, reasons);
  }
  const log = options.log ?? silentLog;
  if (chosen.isolation !== 'full') {
    log.warn('Sandboxes are less isolated', {
      runtime: chosen.runtime,
      isolation: chosen.isolation,
    });
  }
  await sweepSandboxes(options.stateDir, log);
  const launcher = launcherOf(chosen.runtime);
  const { stateDir, shutDownMs = 2000 } = options;
  const maker = { launcher, layout: detectCgroups(), stateDir };
  const count = options.readyCount ?? 0;
  const ready = new ReadyPlaces({ count, make: () => makePlaceAhead(maker), log });
  void ready.fill();
  const networks = new SandboxNetworks(stateDir, log);
  await networks.sweep();
  const workshop = { ...maker, ready, networks, shutDownMs, log };
  return {
    runtime: launcher.runtime,
    canFreeze: canFreeze(maker.layout),
    create: async (spec, output) => {
      const sandbox = await createSandbox(workshop, spec, output);
      void ready.fill();
      return sandbox;
    },
    [Symbol.asyncDispose]: async () => {
      await ready[Symbol.asyncDispose]();
      await networks[Symbol.asyncDispose]();
    },
  };
}

function launcherOf(runtime: SandboxFactory['runtime']): Launcher {
  if (runtime === 'builtin') return builtinLauncher();
  return runtime === 'util-linux' ? utilLinuxLauncher() : ociLauncher(runtime);
}
