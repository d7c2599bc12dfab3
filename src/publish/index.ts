/** publish: the freeze flow, wired; and a published image read back without a device. */

export * from './check-image.ts';
export * from './errors.ts';
export * from './export-image.ts';
export * from './image-document.ts';
export * from './image-files.ts';
export * from './prime-chunk.ts';
export * from './publish-image.ts';
export * from './stored-image.ts';
