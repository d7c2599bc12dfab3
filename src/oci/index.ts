export * from './image-source.ts';
export * from './tar-entry.ts';
