export * from './image-source.ts';
export { TarFormatError, type TarErrorCode, tarErrorCodes } from './tar-errors.ts';
export * from './tar-entry.ts';
export { scanTar } from './tar-scanner.ts';
export { openImage, type OpenImageOptions } from './open-image.ts';
export { formatPlatform, hostPlatform, parsePlatform } from './platform.ts';
export {
  formatReference,
  parseReference,
  type DockerArchiveReference,
  type ImageReference,
  type LayoutReference,
  type RegistryReference,
} from './reference.ts';
export type { RegistryCredentials } from './registry-credentials.ts';
export type { RetrySettings, Timing } from './retry.ts';
export {
  OciAmbiguousReferenceError,
  OciCorruptLayerError,
  OciCredentialsError,
  OciDiffIdMismatchError,
  OciDigestMismatchError,
  OciDocumentError,
  OciForbiddenError,
  OciForeignLayerError,
  OciLayoutError,
  OciMediaTypeError,
  OciNotFoundError,
  OciPlatformError,
  OciPlatformMissingError,
  OciRateLimitedError,
  OciReferenceError,
  OciRegistryError,
  OciSizeMismatchError,
  OciTooLargeError,
  OciUnauthorizedError,
  OciUnreachableError,
  OciWorkDirError,
} from './errors.ts';
