/** sandbox: a process in a container of its own, and the Lambda Runtime API that it talks to. */

export * from './sandbox.ts';
export { createSandboxFactory, type SandboxFactoryOptions } from './factory.ts';
export { runtimeApiAddress } from './create-sandbox.ts';
export { sweepSandboxes } from './sandbox-directories.ts';
export {
  probeSandboxFeatures,
  probeSandboxRuntimes,
  type SandboxFeature,
  type SandboxRuntimeProbe,
} from './launchers/probe.ts';
export { InvocationBrokenError } from './errors.ts';
export { nodeRuntimeBootstrapPath } from './runtime-api/node-runtime.ts';
