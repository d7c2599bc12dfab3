export * from './block-images.ts';
