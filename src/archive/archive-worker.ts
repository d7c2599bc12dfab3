/** A thread of `ArchiveThreads`: one job after the other, no logic of its own. */

import { rmSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

import { errorCode, errorMessage, errorToJson, present, type ErrorJson } from '../base/index.ts';
import type { PlannedDirectory, PlannedLink, PlannedPart } from './archive-plan.ts';
import { openRange, sealArchive, type SealedFrame } from './archive-seal.ts';
import { checkZip, type CheckedZip } from './check-zip.ts';
import { ArchiveNoSpaceError } from './errors.ts';
import { finishTree, unpackPart, type OpenableArchive } from './unpack-part.ts';

/** What a thread does, by name: what it takes, and what it gives. */
export interface ArchiveJobs {
  readonly check: (of: { readonly zip: Uint8Array }) => Promise<CheckedZip>;
  readonly seal: (of: {
    readonly parts: readonly Uint8Array[];
    readonly key: Uint8Array;
    readonly front: Uint8Array;
    readonly frame: SealedFrame;
  }) => Uint8Array;
  readonly open: (
    of: OpenableArchive & { readonly range: { readonly from: number; readonly to: number } },
  ) => Uint8Array;
  readonly unpack: (
    of: OpenableArchive & { readonly part: PlannedPart; readonly directory: string },
  ) => Promise<void>;
  readonly finish: (of: {
    readonly directories: readonly PlannedDirectory[];
    readonly links: readonly PlannedLink[];
    readonly directory: string;
  }) => void;
  readonly remove: (of: { readonly directory: string }) => void;
}

export type ArchiveJobName = keyof ArchiveJobs;

export interface ArchiveJobRequest<Name extends ArchiveJobName = ArchiveJobName> {
  readonly name: Name;
  readonly of: Parameters<ArchiveJobs[Name]>[0];
}

export interface ArchiveJobResponse {
  readonly value?: unknown;
  readonly error?: ErrorJson;
}

const port = present(parentPort, 'the port of a worker thread');

const jobs: ArchiveJobs = {
  check: async ({ zip }) => await checkZip(zip),
  seal: ({ parts, key, front, frame }) => sealArchive(parts, key, { front, frame }),
  open: ({ sealed, key, frame, range }) => openRange(sealed, key, frame, range),
  unpack: async ({ part, directory, ...archive }) => await unpackPart(archive, part, directory),
  finish: ({ directory, ...of }) => finishTree(of, directory),
  remove: ({ directory }) => rmSync(directory, { recursive: true, force: true }),
};

function raised(thrown: unknown): unknown {
  if (!['ENOSPC', 'EDQUOT'].includes(errorCode(thrown) ?? '')) return thrown;
  return new ArchiveNoSpaceError(errorMessage(thrown), thrown);
}

async function respond({ name, of }: ArchiveJobRequest): Promise<ArchiveJobResponse> {
  try {
    const job = jobs[name] as (of: unknown) => unknown;
    return { value: await job(of) };
  } catch (thrown) {
    return { error: errorToJson(raised(thrown)) };
  }
}

/** Bytes that are given away are not copied; neither job keeps them. */
function given({ name }: ArchiveJobRequest, { value }: ArchiveJobResponse): ArrayBuffer[] {
  const isWhole = (name === 'seal' || name === 'open') && value instanceof Uint8Array;
  return isWhole ? [value.buffer as ArrayBuffer] : [];
}

port.on('message', (request: ArchiveJobRequest) => {
  void respond(request).then((response) => port.postMessage(response, given(request, response)));
});
