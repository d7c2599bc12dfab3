/** functions: what may be invoked, the instances that serve it, and what Lambda would answer. */

export * from './create-function-service.ts';
export * from './errors.ts';
export type { FunctionHost } from './function-process.ts';
export * from './function-service.ts';
export type { ColdStartLimits, StartLimitsSnapshot } from './start-gate.ts';
