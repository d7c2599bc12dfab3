export * from './function-service.ts';
