export * from './key-service.ts';
