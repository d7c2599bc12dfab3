/** The end of what one invoke writes into its function's log: Lambda's LogResult. Source: AWS Lambda API reference, Invoke, LogType. */

const tailSizeMaxBytes = 4096;

export class LogTail {
  #parts: Uint8Array[] = [];
  #sizeBytes = 0;

  /** `lines` stay as they are from then on. */
  append(lines: Uint8Array): void {
    this.#parts.push(lines);
    this.#sizeBytes += lines.byteLength;
    for (;;) {
      const [first] = this.#parts;
      if (first === undefined || this.#sizeBytes - first.byteLength < tailSizeMaxBytes) return;
      this.#parts.shift();
      this.#sizeBytes -= first.byteLength;
    }
  }

  /** At most 4 KiB. */
  bytes(): Uint8Array {
    return Buffer.concat(this.#parts).subarray(-tailSizeMaxBytes);
  }
}
