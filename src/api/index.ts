/** api: the worker as others see it: an interface, in this process or behind a socket. */

export { workerMetrics } from './worker-metrics.ts';
export * from './errors.ts';
export * from './local-worker.ts';
export * from './worker-socket.ts';
export * from './worker.ts';
