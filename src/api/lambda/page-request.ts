/** Lists in pages: `Marker` and `MaxItems` of requests, `NextMarker` of answers. */

import type { Page, PageRequest } from '../../catalog/index.ts';
import { LambdaError } from './lambda-error.ts';

/** More are never given at once. Source: ListFunctions, `MaxItems`. */
const itemsMaxDefault = 50;
const itemsMaxHighest = 10_000;

/** Markers are told in base64, since a client need not know what they are made of. */
export function pageRequest(query: URLSearchParams): PageRequest {
  const asked = query.get('MaxItems');
  const itemsMax = asked === null ? itemsMaxDefault : Number(asked);
  if (!Number.isInteger(itemsMax) || itemsMax < 1 || itemsMax > itemsMaxHighest) {
    throw new LambdaError(
      'ValidationException',
      `1 validation error detected: Value '${(asked ?? '').slice(0, 50)}' at 'maxItems' failed to satisfy constraint: ` +
        `Member must be between 1 and ${itemsMaxHighest}`,
    );
  }
  const marker = query.get('Marker');
  const page = { itemsMax: Math.min(itemsMax, itemsMaxDefault) };
  return marker === null || marker === '' ? page : { ...page, marker: decodeMarker(marker) };
}

/** The members of an answer that hold one page. */
export function pageAnswer<T>(
  name: string,
  { items, nextMarker }: Page<T>,
  shape: (item: T) => object,
): object {
  const list = { [name]: items.map(shape) };
  return nextMarker === undefined ? list : { NextMarker: encodeMarker(nextMarker), ...list };
}

function encodeMarker(marker: string): string {
  return Buffer.from(marker).toString('base64url');
}

function decodeMarker(text: string): string {
  const marker = Buffer.from(text, 'base64url').toString();
  if (encodeMarker(marker) === text) return marker;
  throw new LambdaError(
    'InvalidParameterValueException',
    'The pagination token is not valid: use the NextMarker of the answer before',
  );
}
