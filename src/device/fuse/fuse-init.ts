/**
 * The FUSE_INIT handshake. The kernel sends it once per mount; the holder answers it with constants, so that every agent
 * on the mount knows what was agreed on without having been there.
 */

import { FuseSetupError } from '../errors.ts';
import { RequestBuffer, readRequest, reply } from './fuse-channel.ts';
import {
  FUSE_KERNEL_MINOR_VERSION,
  FUSE_KERNEL_VERSION,
  FuseInHeader,
  FuseInitFlag,
  FuseInitFlag2,
  FuseInitIn,
  FuseInitOut,
  FuseOpcode,
  fuseTransferMaxBytes,
} from './fuse-protocol.ts';

const wantedFlags =
  FuseInitFlag.FUSE_ASYNC_READ |
  FuseInitFlag.FUSE_BIG_WRITES |
  FuseInitFlag.FUSE_ASYNC_DIO |
  FuseInitFlag.FUSE_PARALLEL_DIROPS |
  FuseInitFlag.FUSE_MAX_PAGES |
  FuseInitFlag.FUSE_EXPLICIT_INVAL_DATA |
  FuseInitFlag.FUSE_INIT_EXT;

/** An agent that dies must be able to get back what it had not answered. In mainline since Linux 6.9. */
const neededFlags2 = FuseInitFlag2.FUSE_HAS_RESEND;

/** Waits for the handshake of a fresh mount and answers it. Throws `ERR_DEVICE_FUSE` if the kernel is too old. */
export function answerInit(fuseFd: number): void {
  const buffer = new RequestBuffer();
  const lengthBytes = readRequest(fuseFd, buffer);
  const head = lengthBytes === undefined ? undefined : buffer.head(lengthBytes);
  if (head === undefined || head.opcode !== FuseOpcode.FUSE_INIT) {
    throw new FuseSetupError('the kernel did not begin with a handshake');
  }
  const offered = FuseInitIn.decode(buffer.bytes, FuseInHeader.sizeBytes);
  if ((offered.flags2 & neededFlags2) === 0) {
    const version = `${offered.major}.${offered.minor}`;
    throw new FuseSetupError(
      `the kernel's FUSE (${version}) cannot resend requests; Linux 6.9 can`,
    );
  }
  const agreed = FuseInitOut.encode({
    major: FUSE_KERNEL_VERSION,
    minor: Math.min(FUSE_KERNEL_MINOR_VERSION, offered.minor),
    max_readahead: offered.max_readahead,
    flags: offered.flags & wantedFlags,
    max_background: 128,
    congestion_threshold: 96,
    max_write: fuseTransferMaxBytes,
    time_gran: 1,
    max_pages: fuseTransferMaxBytes / 4096,
    map_alignment: 0,
    flags2: neededFlags2,
    max_stack_depth: 0,
  });
  reply(fuseFd, head, 0, [agreed]);
}
