/** What every command gets: the configuration, the worker (here or behind the socket), and where to write. */

import { readFileSync } from 'node:fs';

import type { CallOptions, Worker } from '../api/index.ts';
import { createLog, defined, present, type Log, type LogLevel } from '../base/index.ts';
import { loadConfig, settings, type Config } from './config.ts';
import { connectWorker } from './connect-worker.ts';
import { UsageError } from './errors.ts';
import type { ExitCause } from './exit-status.ts';
import { ProgressBars } from './progress-bars.ts';

export interface GlobalOptions {
  readonly root?: string;
  readonly config?: string;
  readonly logLevel?: string;
  /** A whole `Config`: from the process that started this one. */
  readonly settings?: string;
}

function parseLogLevel(level: string | undefined): LogLevel | undefined {
  const problem = level === undefined ? undefined : settings['log.level']?.check(level);
  if (problem !== undefined) throw new UsageError(`Cannot log at "${level}": it ${problem}`);
  return level as LogLevel | undefined;
}

const interruptSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

interface Interrupts {
  readonly first: AbortController;
  readonly second: AbortController;
}

export class CliContext {
  readonly bars = new ProgressBars(process.stderr);
  /** Set by a command that ended well but has a cause to tell, e.g. a function that failed. */
  cause: ExitCause = 'ok';
  #config: Config | undefined;
  #worker: Promise<Worker> | undefined;
  #interrupts: Interrupts | undefined;

  get version(): string {
    const file = new URL('../../package.json', import.meta.url);
    return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  }

  get config(): Config {
    return present(this.#config, 'configuration: configure() comes first');
  }

  get isDebug(): boolean {
    return this.#config?.logLevel === 'debug';
  }

  get log(): Log {
    return createLog({
      level: this.config.logLevel,
      format: this.config.logFormat,
      write: (line) => {
        this.bars.clear();
        process.stderr.write(line);
      },
    });
  }

  /**
   * Aborted by SIGINT, SIGTERM and SIGHUP from its first use on; commands hand it to whatever waits. Commands that do
   * not use it end by the signal itself.
   */
  get signal(): AbortSignal {
    return this.#watchSignals().first.signal;
  }

  /** Aborted by the second of those signals: whoever sends it will not wait any longer. */
  get secondSignal(): AbortSignal {
    return this.#watchSignals().second.signal;
  }

  #watchSignals(): Interrupts {
    if (this.#interrupts !== undefined) return this.#interrupts;
    const first = new AbortController();
    const second = new AbortController();
    const reason = new DOMException('Interrupted', 'AbortError');
    const interrupt = (): void => (first.signal.aborted ? second : first).abort(reason);
    for (const signal of interruptSignals) process.on(signal, interrupt);
    this.#interrupts = { first, second };
    return this.#interrupts;
  }

  /** For calls to the worker that may take long. */
  get callOptions(): CallOptions {
    return { signal: this.signal, progress: this.bars.report };
  }

  async configure(options: GlobalOptions): Promise<void> {
    if (options.settings !== undefined) {
      this.#config = JSON.parse(options.settings) as Config;
      return;
    }
    const { config: configPath, root } = options;
    const config = await loadConfig(defined({ configPath, root }));
    this.#config = { ...config, logLevel: parseLogLevel(options.logLevel) ?? config.logLevel };
  }

  /** The running server's, or one in this process; made on first use. */
  worker(): Promise<Worker> {
    this.#worker ??= connectWorker(this.config, this.log);
    return this.#worker;
  }

  /** The result, on stdout: JSON for programs, or lines for people. */
  print(result: unknown, asJson: boolean | undefined, forPeople: () => string): void {
    this.bars.clear();
    process.stdout.write(asJson === true ? `${JSON.stringify(result, null, 2)}\n` : forPeople());
  }

  /**
   * A result of any length, on stdout, no faster than it is read; ends early when nobody reads on. What cannot be
   * written otherwise is told of where the output is watched.
   */
  async printAll(pieces: AsyncIterable<string | Uint8Array>): Promise<void> {
    this.bars.clear();
    for await (const piece of pieces) {
      const failure = await new Promise<unknown>((resolve) => {
        process.stdout.write(piece, resolve);
      });
      if (failure !== undefined && failure !== null) return;
    }
  }

  async close(): Promise<void> {
    this.bars.clear();
    const worker = await this.#worker?.catch(() => undefined);
    await worker?.[Symbol.asyncDispose]();
  }
}
