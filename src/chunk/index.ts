/**
 * chunk: fixed-size chunks under convergent encryption, and the manifest that lists and opens them.
 */

export * from './codec.ts';
export * from './errors.ts';
export * from './manifest.ts';
export * from './manifest-codec.ts';
export * from './manifest-seal.ts';
export * from './open-pool.ts';
export * from './seal-pool.ts';
