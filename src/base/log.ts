/** Log lines on stderr, one a line: for people by default, JSON when asked. Never holds secrets. */

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
/** What a line is about, by name; undefined values are left out. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Writes one line a call. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export interface LogOptions {
  /** The least level written. Default `info`. */
  readonly level?: LogLevel;
  readonly format?: 'text' | 'json';
  /** Where a finished line, newline included, goes. Default: stderr. */
  readonly write?: (line: string) => void;
  readonly now?: () => Date;
}

const levels: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** A line break in a message, or worse in a file name within it, must not look like a line of its own. */
function onOneLine(text: string): string {
  return text.replaceAll(/\s*[\r\n]+\s*/g, '; ');
}

function textLine(at: Date, level: LogLevel, message: string, fields: LogFields): string {
  const parts = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${typeof value === 'string' ? JSON.stringify(value) : value}`);
  return `${at.toISOString()} ${level} ${onOneLine(message)}${parts.join('')}\n`;
}

/** A log that writes lines of `options.level` and above. */
export function createLog(options: LogOptions = {}): Log {
  const least = levels.indexOf(options.level ?? 'info');
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const now = options.now ?? (() => new Date());
  const at = (level: LogLevel) => {
    return (message: string, fields: LogFields = {}): void => {
      if (levels.indexOf(level) < least) return;
      const time = now();
      write(
        options.format === 'json'
          ? `${JSON.stringify({ time: time.toISOString(), level, message, ...fields })}\n`
          : textLine(time, level, message, fields),
      );
    };
  };
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** Writes nothing. */
export const silentLog: Log = createLog({ write: () => {} });
