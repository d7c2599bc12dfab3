/** Finds the operation that a method and a path call. */

import type { Operation } from './operation.ts';

/** An operation, and the labels that its path template gives names to. */
export interface Route {
  readonly operation: Operation;
  readonly labels: Readonly<Record<string, string>>;
}

export interface RouteTable {
  /**
   * `path` is still encoded, without its query; one slash at its end makes no difference. Undefined where no operation is
   * called so, or the path is wrongly encoded.
   */
  find(method: string, path: string): Route | undefined;
}

interface Entry {
  readonly operation: Operation;
  readonly segments: readonly string[];
}

const labelPattern = /^\{(\w+)\}$/;

/** Throws nothing: of two operations of one path the first is found. */
export function createRouteTable(operations: readonly Operation[]): RouteTable {
  // By all that is cheap to tell: what is left is compared one by one.
  const entries = new Map<string, Entry[]>();
  for (const operation of operations) {
    const segments = segmentsOf(operation.path);
    const key = keyOf(operation.method, segments);
    const same = entries.get(key);
    if (same === undefined) entries.set(key, [{ operation, segments }]);
    else same.push({ operation, segments });
  }
  return {
    find: (method, path) => {
      const segments = segmentsOf(path);
      for (const { operation, segments: template } of entries.get(keyOf(method, segments)) ?? []) {
        const labels = labelsOf(template, segments);
        if (labels !== undefined) return { operation, labels };
      }
      return undefined;
    },
  };
}

function segmentsOf(path: string): readonly string[] {
  return path.replace(/\/$/, '').split('/').slice(1);
}

/** The first segment is the version of the API. */
function keyOf(method: string, segments: readonly string[]): string {
  return `${method} ${segments[0]} ${segments.length}`;
}

/** Undefined if the path is another's. */
function labelsOf(
  template: readonly string[],
  segments: readonly string[],
): Record<string, string> | undefined {
  const labels: Record<string, string> = {};
  for (const [index, expected] of template.entries()) {
    const segment = segments[index] ?? '';
    const name = labelPattern.exec(expected)?.[1];
    if (name === undefined) {
      if (segment !== expected) return undefined;
      continue;
    }
    const value = decoded(segment);
    if (value === undefined || value === '') return undefined;
    labels[name] = value;
  }
  return labels;
}

function decoded(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment);
  } catch {
    return undefined; // a percent sign without its digits, or no UTF-8
  }
}
