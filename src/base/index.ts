/** base: what every room may use and nothing of ours: errors, bytes, record tables, limits, time, logs. */

export * from './abort.ts';
export * from './bisection.ts';
export * from './bytes.ts';
export * from './clock.ts';
export * from './command.ts';
export * from './defined.ts';
export * from './durable-directory.ts';
export * from './errors.ts';
export * from './json-text.ts';
export * from './latency-histogram.ts';
export * from './layout.ts';
export * from './limits.ts';
export * from './log.ts';
export * from './module-url.ts';
export * from './process-identity.ts';
export * from './program-path.ts';
export * from './progress.ts';
export * from './random-access.ts';
export * from './text-http.ts';
export * from './timers.ts';
export * from './unix-http.ts';
