/**
 * store: the origin of immutable objects. Suites and faults for tests are in `testing/`, not here.
 */

export * from './directory-store.ts';
export * from './errors.ts';
export * from './object-names.ts';
export * from './object-store.ts';
export type { S3Credentials } from './s3-signature.ts';
export * from './s3-store.ts';
export * from './s3-url.ts';
export * from './with-limit.ts';
export * from './with-retry.ts';
