/**
 * Makes whole lines of what a process writes, so that the lines of two processes can share a file.
 */

const lineSizeMaxBytes = 64 * 1024;
const newline = 0x0a;

/** `isOurs` is set for a line that Thaw wrote rather than the process. */
export type WriteLines = (lines: Uint8Array, isOurs?: boolean) => void;

/**
 * Hands on whole lines, several at a time. A line without end is cut every 64 KiB, so that memory
 * is bounded.
 */
export class LineBuffer {
  readonly #write: WriteLines;
  /** The start of a line that has not ended; no newline in it. */
  #started: Uint8Array[] = [];
  #startedBytes = 0;

  constructor(write: WriteLines) {
    this.#write = write;
  }

  /** `data` is the buffer's from then on. */
  push(data: Uint8Array): void {
    const end = data.lastIndexOf(newline) + 1;
    if (end > 0) {
      this.#write(Buffer.concat([...this.#started, data.subarray(0, end)]));
      this.#started = [];
      this.#startedBytes = 0;
    }
    const rest = data.subarray(end);
    if (rest.byteLength === 0) return;
    this.#started.push(rest);
    this.#startedBytes += rest.byteLength;
    if (this.#startedBytes >= lineSizeMaxBytes) this.flush();
  }

  /** Ends the line that has been started, if one has. */
  flush(): void {
    if (this.#startedBytes > 0) this.push(Uint8Array.of(newline));
  }

  /** A line of our own, after what has been started. */
  line(text: string): void {
    this.flush();
    this.#write(Buffer.from(`${text}\n`), true);
  }
}
