/** device: an image becomes a block device on FUSE and a mounted root filesystem, read as it is used. */

export { runAgent, type AgentOptions, type ManifestSource } from './agent.ts';
export type { AgentStatus, ImageUse, OpenedImage } from './agent-calls.ts';
export {
  AgentClient,
  connectAgent,
  type ConnectOptions,
  type HolderCommand,
} from './agent-client.ts';
export * from './block-images.ts';
export * from './errors.ts';
export { runHolder, type HolderOptions } from './holder.ts';
export type { MountChoices } from './attach.ts';
export { mountImage, unmountImage } from './image-mounts.ts';
export type { WaitCounters } from './read-waits.ts';
export type { ProfileStore, StartProfileCounters } from './start-profiles.ts';
export { createRootMounts, type RootMountsOptions } from './root-mounts.ts';
export { tryLockFile } from './system-calls.ts';
