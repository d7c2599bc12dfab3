/** functions: what may be invoked, the instances that serve it, and what Lambda would answer. */

export { accountIds } from './account-id.ts';
export * from './create-function-service.ts';
export * from './errors.ts';
export type { CodeDependencies, ImagePublisher } from './control/function-code.ts';
export * from './function-control.ts';
export { functionArn, type FunctionHost } from './running/function-process.ts';
export type { EventLimits } from './running/event-queue.ts';
export type { FunctionLimits } from './function-limits.ts';
export type { FunctionRunnerOptions } from './running/function-runner.ts';
export { configurationRanges } from './function-rules.ts';
export * from './function-runs.ts';
export * from './function-service.ts';
export type { ColdStartLimits, StartLimitsSnapshot } from './running/start-gate.ts';
export { splitUrlStream, urlEventOf, urlResponseOf } from './web/url-event.ts';
