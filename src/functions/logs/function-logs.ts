/** The logs of all functions, `TENANT/NAME.log` each. */

import { join } from 'node:path';

import { FunctionLog, type FunctionLogOptions } from './function-log.ts';
import { checkNames } from '../function-rules.ts';

export interface FunctionLogsOptions extends Omit<FunctionLogOptions, 'path'> {
  readonly logsDir: string;
}

interface LogOf {
  readonly tenant: string;
  readonly name: string;
}

export class FunctionLogs {
  readonly #options: FunctionLogsOptions;
  readonly #open = new Map<string, FunctionLog>();

  constructor(options: FunctionLogsOptions) {
    this.#options = options;
  }

  /** Throws `ERR_FUNCTION_BAD_NAME`. */
  of({ tenant, name }: LogOf): FunctionLog {
    checkNames({ tenant, name });
    const key = `${tenant}/${name}`;
    const known = this.#open.get(key);
    if (known !== undefined) return known;
    const { logsDir, ...options } = this.#options;
    const log = new FunctionLog({ ...options, path: join(logsDir, tenant, `${name}.log`) });
    this.#open.set(key, log);
    return log;
  }

  /** The log as it is now; who asks again gets a new one. */
  takeOut(of: LogOf): FunctionLog {
    const log = this.of(of);
    this.#open.delete(`${of.tenant}/${of.name}`);
    return log;
  }

  /** Resolves when all that was appended before is written or dropped. */
  async flush(): Promise<void> {
    await Promise.all([...this.#open.values()].map((log) => log.flush()));
  }
}
