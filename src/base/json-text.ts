/**
 * Finds out whether bytes are JSON without making anything of them. `JSON.parse` makes an object for each two bytes of a hostile
 * text, which takes the thread seconds and the process its memory; this takes a few nanoseconds a byte. Pure.
 * Source: RFC 8259.
 */

import { isUtf8 } from 'node:buffer';

/** How much there may be in a text, where it is to be parsed. */
export interface JsonLimits {
  /** Of objects and lists in one another. Default: none. */
  readonly depthMax?: number;
  /** Of members and elements in all. Default: none. */
  readonly itemsMax?: number;
}

const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a];
const minus = 0x2d;
const [openList, closeList, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d];

/** What is wrong with a text, in words to follow those that say what it is; undefined if it is JSON in UTF-8 within the limits. */
export function jsonProblem(text: Uint8Array, limits: JsonLimits = {}): string | undefined {
  return isUtf8(text) ? new JsonScanner(text, limits).problem() : 'it is not UTF-8';
}

const literals = ['true', 'false', 'null'].map((word) => Buffer.from(word));
const plainEscapes = Buffer.from('"\\/bfnrt');
const isDigit = (byte: number | undefined): boolean =>
  byte !== undefined && byte >= 0x30 && byte <= 0x39;
const isHexDigit = (byte = 0): boolean =>
  isDigit(byte) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66);

class JsonScanner {
  readonly #text: Uint8Array;
  readonly #limits: Required<JsonLimits>;
  #at = 0;
  #items = 0;
  /** The brackets that will close what is open. */
  #open: number[] = [];

  constructor(text: Uint8Array, { depthMax = Infinity, itemsMax = Infinity }: JsonLimits) {
    this.#text = text;
    this.#limits = { depthMax, itemsMax };
  }

  problem(): string | undefined {
    for (;;) {
      const isOpened = this.#value();
      if (isOpened === undefined) return this.#misfit();
      if (this.#open.length > this.#limits.depthMax) return 'it is nested too deeply';
      if (!isOpened && !this.#next()) return this.#misfit();
      if (this.#open.length === 0) return this.#peek() === undefined ? undefined : this.#misfit();
      this.#items += 1;
      if (this.#items > this.#limits.itemsMax) return 'it has too many members';
      if (this.#open.at(-1) === closeObject && !this.#name()) return this.#misfit();
    }
  }

  #misfit(): string {
    return this.#at < this.#text.length
      ? `it goes on in another way at byte ${this.#at}`
      : 'it ends too early';
  }

  /** Past white space. */
  #peek(): number | undefined {
    for (; ; this.#at += 1) {
      const byte = this.#text[this.#at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return byte;
    }
  }

  #takes(byte: number): boolean {
    if (this.#peek() !== byte) return false;
    this.#at += 1;
    return true;
  }

  /** True for what has been opened and holds something, false for a value that has ended. */
  #value(): boolean | undefined {
    const byte = this.#peek();
    if (byte === quote) return this.#string() ? false : undefined;
    if (byte === openList || byte === openObject) {
      const close = byte === openList ? closeList : closeObject;
      this.#at += 1;
      if (this.#takes(close)) return false;
      this.#open.push(close);
      return true;
    }
    const isNumber = byte === minus || isDigit(byte);
    return (isNumber ? this.#number() : this.#literal()) ? false : undefined;
  }

  /** After a value: closes what it ends, up to what goes on after a comma, or the end. */
  #next(): boolean {
    for (let close = this.#open.at(-1); close !== undefined; close = this.#open.at(-1)) {
      if (this.#takes(comma)) return true;
      if (!this.#takes(close)) return false;
      this.#open.pop();
    }
    return true;
  }

  #name(): boolean {
    return this.#peek() === quote && this.#string() && this.#takes(colon);
  }

  #string(): boolean {
    const text = this.#text;
    for (let at = this.#at + 1; at < text.length; at += 1) {
      const byte = text[at] ?? 0;
      if (byte === quote) {
        this.#at = at + 1;
        return true;
      }
      this.#at = at;
      if (byte < 0x20) return false;
      if (byte !== backslash) continue;
      at += 1;
      const escape = text[at] ?? 0;
      if (escape === 0x75 && [1, 2, 3, 4].every((i) => isHexDigit(text[at + i]))) at += 4;
      else if (!plainEscapes.includes(escape)) return false;
    }
    this.#at = text.length;
    return false;
  }

  #literal(): boolean {
    const word = literals.find((each) =>
      each.every((byte, i) => this.#text[this.#at + i] === byte),
    );
    this.#at += word?.length ?? 0;
    return word !== undefined;
  }

  #number(): boolean {
    const text = this.#text;
    if (text[this.#at] === minus) this.#at += 1;
    if (text[this.#at] === 0x30) this.#at += 1;
    else if (!this.#digits()) return false;
    if (text[this.#at] === 0x2e) {
      this.#at += 1; // .
      if (!this.#digits()) return false;
    }
    if (((text[this.#at] ?? 0) | 0x20) !== 0x65) return true; // e
    this.#at += 1;
    if (text[this.#at] === 0x2b || text[this.#at] === minus) this.#at += 1;
    return this.#digits();
  }

  #digits(): boolean {
    const from = this.#at;
    while (isDigit(this.#text[this.#at])) this.#at += 1;
    return this.#at > from;
  }
}
