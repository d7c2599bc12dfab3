export * from './chunk-loader.ts';
