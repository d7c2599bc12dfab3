/** Where each layer's groups are in the address space, and how large that must be. */

import { Ext4LimitError } from './errors.ts';
import { groupCountDefault, groupCountMax } from './geometry.ts';

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
 * A layer lies where its hash says, or in the next groups that are free; lower layers, which more images share,
 * choose first. Group 0 is the head's. The address space doubles until layers fill at most half of it.
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
    const wanted = layer.addressHash % groupCount;
    const found = findFree(taken, wanted, layer.groupCount) ?? findFree(taken, 1, layer.groupCount);
    if (found === undefined) return undefined;
    taken.fill(1, found, found + layer.groupCount);
    firstGroups.push(found);
  }
  return firstGroups;
}

/** The first of `count` free groups in a row from `start` on. */
function findFree(taken: Uint8Array, start: number, count: number): number | undefined {
  let free = 0;
  for (let group = start; group < taken.length; group += 1) {
    free = taken[group] === 0 ? free + 1 : 0;
    if (free === count) return group - count + 1;
  }
  return undefined;
}
