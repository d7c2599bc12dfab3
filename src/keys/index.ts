/** keys: whoever wraps data keys for tenants and gives roots their salts. */

export * from './errors.ts';
export * from './key-service.ts';
export * from './local-keyring.ts';
