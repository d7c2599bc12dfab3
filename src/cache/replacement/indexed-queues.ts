/** Orders over small integers, such as places in an array, each of which is in a queue at most once. No allocation an element. */

const absent = -1;

/** `array`, or a copy of at least `length` elements; new ones are `filler`. */
function grown(array: Int32Array, length: number, filler: number): Int32Array {
  if (length <= array.length) return array;
  const larger = new Int32Array(Math.max(length, 2 * array.length)).fill(filler);
  larger.set(array);
  return larger;
}

/** A binary heap from which any element can be taken. */
export class IndexedHeap {
  readonly #isBefore: (one: number, other: number) => boolean;
  #heap: Int32Array = new Int32Array(16);
  /** Where in the heap an element is. */
  #positions: Int32Array = new Int32Array(16).fill(absent);
  #size = 0;

  /** `isBefore` is a strict order; what it says of an element may change only together with `update`. */
  constructor(isBefore: (one: number, other: number) => boolean) {
    this.#isBefore = isBefore;
  }

  get size(): number {
    return this.#size;
  }

  /** The first in order; undefined if there is none. */
  get first(): number | undefined {
    return this.#size === 0 ? undefined : this.#heap[0];
  }

  has(element: number): boolean {
    return (this.#positions[element] ?? absent) !== absent;
  }

  /** The element must not be there. */
  add(element: number): void {
    this.#heap = grown(this.#heap, this.#size + 1, 0);
    this.#positions = grown(this.#positions, element + 1, absent);
    this.#place(element, this.#size);
    this.#size += 1;
    this.#rise(element);
  }

  /** Does nothing if the element is not there. */
  remove(element: number): void {
    const position = this.#positions[element] ?? absent;
    if (position === absent) return;
    this.#size -= 1;
    this.#positions[element] = absent;
    if (position === this.#size) return;
    const last = this.#heap[this.#size] as number;
    this.#place(last, position);
    this.update(last);
  }

  /** To be called when the order says something else of an element than before. */
  update(element: number): void {
    this.#rise(element);
    this.#sink(element);
  }

  #place(element: number, position: number): void {
    this.#heap[position] = element;
    this.#positions[element] = position;
  }

  #rise(element: number): void {
    let position = this.#positions[element] as number;
    while (position > 0) {
      const above = (position - 1) >> 1;
      const parent = this.#heap[above] as number;
      if (!this.#isBefore(element, parent)) break;
      this.#place(parent, position);
      position = above;
    }
    this.#place(element, position);
  }

  #sink(element: number): void {
    let position = this.#positions[element] as number;
    for (;;) {
      let below = 2 * position + 1;
      if (below >= this.#size) break;
      const [left, right] = [this.#heap[below] as number, this.#heap[below + 1] as number];
      const isRight = below + 1 < this.#size && this.#isBefore(right, left);
      if (isRight) below += 1;
      const child = isRight ? right : left;
      if (!this.#isBefore(child, element)) break;
      this.#place(child, position);
      position = below;
    }
    this.#place(element, position);
  }
}

/** First in, first out, but that any element can leave. */
export class IndexedList {
  #next: Int32Array = new Int32Array(16).fill(absent);
  #previous: Int32Array = new Int32Array(16).fill(absent);
  #first = absent;
  #last = absent;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The one that is in for the longest time; undefined if there is none. */
  get first(): number | undefined {
    return this.#first === absent ? undefined : this.#first;
  }

  has(element: number): boolean {
    return element === this.#first || (this.#previous[element] ?? absent) !== absent;
  }

  /** The element must not be there. */
  add(element: number): void {
    this.#next = grown(this.#next, element + 1, absent);
    this.#previous = grown(this.#previous, element + 1, absent);
    if (this.#last === absent) this.#first = element;
    else this.#next[this.#last] = element;
    this.#previous[element] = this.#last;
    this.#next[element] = absent;
    this.#last = element;
    this.#size += 1;
  }

  /** Does nothing if the element is not there. */
  remove(element: number): void {
    if (!this.has(element)) return;
    const previous = this.#previous[element] as number;
    const next = this.#next[element] as number;
    if (previous === absent) this.#first = next;
    else this.#next[previous] = next;
    if (next === absent) this.#last = previous;
    else this.#previous[next] = previous;
    this.#previous[element] = absent;
    this.#next[element] = absent;
    this.#size -= 1;
  }
}
