/** device: an image becomes a block device on FUSE and a mounted root filesystem, read as it is used. */

export { runAgent, type AgentOptions, type ManifestSource } from './agent/agent.ts';
export type { AgentStatus, ImageUse, OpenedImage } from './agent/agent-calls.ts';
export {
  AgentClient,
  connectAgent,
  type ConnectOptions,
  type HolderCommand,
} from './agent/agent-client.ts';
export * from './images/block-images.ts';
export * from './errors.ts';
export { runHolder, type HolderOptions } from './agent/holder.ts';
export type { MountChoices } from './mounts/attach.ts';
export { mountImage, unmountImage } from './mounts/image-mounts.ts';
export type { WaitCounters } from './images/read-waits.ts';
export type { ProfileStore, StartProfileCounters } from './starts/start-profiles.ts';
export { createRootMounts, type RootMountsOptions } from './mounts/root-mounts.ts';
export { tryLockFile } from './system-calls.ts';
