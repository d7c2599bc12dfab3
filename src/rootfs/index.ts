/** rootfs: applies the layers of an image to one immutable tree. */

export {
  type AppliedLayers,
  type ApplyLayersOptions,
  type LayerEntries,
  applyLayers,
} from './apply-layers.ts';
export { ApplyError, type RootfsErrorCode, rootfsErrorCodes } from './errors.ts';
export type { LeftOutNamespace, LeftOutXattrs } from './left-out-xattrs.ts';
export * from './tree.ts';
export { type TreePath, walkTree } from './walk-tree.ts';
