export * from './disk-plan.ts';
