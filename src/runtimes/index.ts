/** runtimes: the images that zip functions run in, made of this machine's own programs. */

export * from './errors.ts';
export * from './published-runtimes.ts';
export * from './runtime-images.ts';
