export * from './image-document.ts';
