/**
 * Attaches files to loop devices. Done here rather than by `losetup`, which takes three runs of programs for what is one
 * ioctl, and each of them is on the way of a cold start. Source: include/uapi/linux/loop.h, LOOP_CONFIGURE: Linux 5.8.
 */

import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';

import { Semaphore, errorCode, layout } from '../../base/index.ts';
import { LoopDeviceError } from '../errors.ts';
import { ioctl, setReadAhead } from '../system-calls.ts';

const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;

const LoopFlag = { LO_FLAGS_READ_ONLY: 1, LO_FLAGS_AUTOCLEAR: 4, LO_FLAGS_DIRECT_IO: 16 } as const;

/** struct loop_config, its `info` (struct loop_info64) laid out in place from `lo_device` on. */
const LoopConfig = layout('loop_config', 304, [
  [0, 'u32', 'fd'],
  [4, 'u32', 'block_size'],
  [8, 'u64', 'lo_device'],
  [16, 'u64', 'lo_inode'],
  [24, 'u64', 'lo_rdevice'],
  [32, 'u64', 'lo_offset'],
  [40, 'u64', 'lo_sizelimit'], // 0: all of the file
  [48, 'u32', 'lo_number'],
  [52, 'u32', 'lo_encrypt_type'],
  [56, 'u32', 'lo_encrypt_key_size'],
  [60, 'u32', 'lo_flags'],
  [64, 'bytes64', 'lo_file_name'],
  [128, 'bytes64', 'lo_crypt_name'],
  [192, 'bytes32', 'lo_encrypt_key'],
  [224, 'u64', 'lo_init_0'],
  [232, 'u64', 'lo_init_1'],
  [240, 'bytes64', '_reserved'],
]);

/** Another process may take the device that we found free. */
const triesMax = 64;

/** All who ask at the same time are given the same free device, and all but one of them in vain. */
const attaching = new Semaphore(1);

/**
 * 128 KiB, the kernel's default. A loop device keeps the read-ahead of its earlier uses, 2,560 KiB after a file on a disk that
 * calls itself rotational, and a start would read as many chunks more as that reaches (Node's: 181 instead of 142,
 * `npm run bench -- start-touch`).
 */
export const usualReadAheadBytes = 128 * 1024;

function loopConfig(fd: number, path: string, flags: number): Buffer {
  const lo_file_name = Buffer.alloc(64);
  Buffer.from(path).copy(lo_file_name, 0, 0, 63);
  return LoopConfig.encode({
    fd,
    block_size: 0, // the default, 512
    lo_device: 0n,
    lo_inode: 0n,
    lo_rdevice: 0n,
    lo_offset: 0n,
    lo_sizelimit: 0n,
    lo_number: 0,
    lo_encrypt_type: 0,
    lo_encrypt_key_size: 0,
    lo_flags: flags,
    lo_file_name,
    lo_crypt_name: Buffer.alloc(64),
    lo_encrypt_key: Buffer.alloc(32),
    lo_init_0: 0n,
    lo_init_1: 0n,
  });
}

/** An attached loop device. It detaches itself when it is closed here and nothing else uses it. */
export interface LoopDevice extends AsyncDisposable {
  /** Such as `/dev/loop0`. */
  readonly path: string;
}

/**
 * Attaches the file at `path` to a free loop device. It reads the file past the page cache (a chunk in our memory
 * and its pages in the filesystem's cache are enough; cold starts took 0.55 times as long as with a page cache in between).
 * Throws `ERR_DEVICE_LOOP`.
 */
export async function attachLoopDevice(
  path: string,
  { writable }: { writable: boolean },
): Promise<LoopDevice> {
  const access = writable ? constants.O_RDWR : constants.O_RDONLY;
  const flags =
    LoopFlag.LO_FLAGS_AUTOCLEAR |
    LoopFlag.LO_FLAGS_DIRECT_IO |
    (writable ? 0 : LoopFlag.LO_FLAGS_READ_ONLY);
  await using file = await open(path, access);
  const config = loopConfig(file.fd, path, flags);
  const device = await attaching.run(async () => configureFreeDevice(config, access));
  if (device === undefined) throw new LoopDeviceError(path);
  return { path: device.path, [Symbol.asyncDispose]: async () => device.handle.close() };
}

interface OpenDevice {
  readonly path: string;
  readonly handle: FileHandle;
}

async function configureFreeDevice(
  config: Uint8Array,
  access: number,
): Promise<OpenDevice | undefined> {
  await using control = await open('/dev/loop-control', constants.O_RDWR);
  for (let tries = 0; tries < triesMax; tries += 1) {
    const number = await ioctl(control.fd, LOOP_CTL_GET_FREE);
    if (number < 0) break;
    const path = `/dev/loop${number}`;
    const handle = await openDevice(path, access);
    if (handle === undefined) continue;
    const isOurs = (await ioctl(handle.fd, LOOP_CONFIGURE, config)) === 0;
    if (isOurs && setReadAhead(handle.fd, usualReadAheadBytes)) return { path, handle };
    await handle.close();
  }
  return undefined;
}

/** Undefined if it was taken after we found it free, and is being detached now. */
async function openDevice(path: string, access: number): Promise<FileHandle | undefined> {
  try {
    return await open(path, access);
  } catch (thrown) {
    if (errorCode(thrown) === 'ENXIO') return undefined;
    throw thrown;
  }
}
