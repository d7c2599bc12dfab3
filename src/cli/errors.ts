import { ThawError } from '../base/index.ts';

export class UsageError extends ThawError {
  constructor(message: string) {
    super({ code: 'ERR_CLI_USAGE', fault: 'caller', message });
  }
}

export class ConfigError extends ThawError {
  constructor(path: string, problem: string) {
    super({
      code: 'ERR_CLI_CONFIG',
      fault: 'caller',
      message: `Cannot use the configuration "${path}": ${problem}`,
    });
  }
}

export class EnvironmentError extends ThawError {
  constructor(message: string) {
    super({ code: 'ERR_CLI_ENVIRONMENT', fault: 'environment', message });
  }
}
