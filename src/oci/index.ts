export * from './image-source.ts';
export { TarFormatError, type TarErrorCode, tarErrorCodes } from './tar-errors.ts';
export * from './tar-entry.ts';
export { scanTar } from './tar-scanner.ts';
