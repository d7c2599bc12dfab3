/** Where each layer's groups are in the address space, and how large that must be. */

import { Ext4LimitError } from './errors.ts';
import { groupCountDefault, groupCountMax } from './geometry.ts';
import { hashedPlace, mix } from './path-hash.ts';

interface AddressPlan {
  readonly groupCount: number;
  /** For each layer its first group. */
  readonly firstGroups: readonly number[];
}

/** What `LayerPlan` says of a layer's place. */
interface PlacedLayer {
  readonly groupCount: number;
  readonly addressHash: number;
}

/**
 * A layer lies where its hash says; if that is taken, at its second choice, which is the same in every image in which the
 * first is taken, and so on. Lower layers, which more images share, choose first. Group 0 is the head's. The
 * address space doubles until layers fill at most half of it.
 * Throws `ERR_EXT4_LIMIT` if that is more than 8 TiB.
 */
export function placeLayers(layers: readonly PlacedLayer[]): AddressPlan {
  const needed = layers.reduce((sum, layer) => sum + layer.groupCount, 1);
  let groupCount = groupCountDefault;
  while (groupCount < needed * 2) groupCount *= 2;
  for (; groupCount <= groupCountMax; groupCount *= 2) {
    const firstGroups = tryToPlace(layers, groupCount);
    if (firstGroups !== undefined) return { groupCount, firstGroups };
  }
  throw new Ext4LimitError(
    `Cannot store an image of ${layers.length} layers: it needs more than 8 TiB of address space`,
  );
}

function tryToPlace(layers: readonly PlacedLayer[], groupCount: number): number[] | undefined {
  const taken = new Uint8Array(groupCount);
  taken[0] = 1;
  const firstGroups: number[] = [];
  for (const layer of layers) {
    if (layer.groupCount === 0) {
      firstGroups.push(0);
      continue;
    }
    const found = firstFreeChoice(taken, layer) ?? findFree(taken, layer.groupCount);
    if (found === undefined) return undefined;
    taken.fill(1, found, found + layer.groupCount);
    firstGroups.push(found);
  }
  return firstGroups;
}

/** Enough for layers that fill half of the space: the chance that all are taken is one in thousands. */
const choicesMax = 16;

function firstFreeChoice(taken: Uint8Array, layer: PlacedLayer): number | undefined {
  let hash = layer.addressHash;
  for (let choice = 0; choice < choicesMax; choice += 1) {
    const group = hashedPlace(hash, taken.length);
    const end = group + layer.groupCount;
    if (end <= taken.length && !taken.subarray(group, end).includes(1)) return group;
    hash = mix(hash + choice + 1);
  }
  return undefined;
}

/** The first of `count` free groups in a row. */
function findFree(taken: Uint8Array, count: number): number | undefined {
  let free = 0;
  for (let group = 1; group < taken.length; group += 1) {
    free = taken[group] === 0 ? free + 1 : 0;
    if (free === count) return group - count + 1;
  }
  return undefined;
}
