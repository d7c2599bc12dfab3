export * from './object-names.ts';
export * from './object-store.ts';
