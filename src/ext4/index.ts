/** ext4: from a tree to the plan of a disk that shares as much as can be with others, and back from a disk to files. */

export { checkDisk, type DiskCheck } from './check-disk.ts';
export * from './disk-plan.ts';
export * from './errors.ts';
export { diskFormatVersion } from './geometry.ts';
export { planDisk } from './plan-disk.ts';
export type { Extent } from './extent-tree.ts';
export type { Ext4DirectoryEntry } from './read-directory.ts';
export type { Ext4Inode } from './read-inode.ts';
export { openFilesystem, type Ext4Path, type Ext4Reader } from './reader.ts';
export type { FilesystemInfo } from './volume.ts';
