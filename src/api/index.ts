/** api: the worker as others see it: an interface, in this process or behind a socket. */

export { workerMetrics } from './worker-metrics.ts';
export * from './errors.ts';
export type * from './function-calls.ts';
export * from './lambda/http-server.ts';
export type { LambdaApiLimits, LambdaApiOptions } from './lambda/lambda-api.ts';
export * from './lambda/local-callers.ts';
export type { LambdaFunctions } from './lambda/operation.ts';
export type { AnsweredRequests, ApiRequests } from './lambda/request-counts.ts';
export * from './local-worker.ts';
export * from './registry-images.ts';
export * from './sigv4/access-keys.ts';
export * from './sigv4/authenticator.ts';
export * from './sigv4/errors.ts';
export * from './worker-socket.ts';
export * from './worker.ts';
