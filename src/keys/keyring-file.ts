/**
 * The file of a local keyring: JSON, mode 0600, replaced as a whole (temporary file, fsync, rename,
 * fsync of the directory) under a lock, so that a reader sees one version or the next and no writer
 * loses another's keys. Secrets are added, never changed.
 *
 *   { "format": "thaw-keyring", "version": 1, "tenants": { NAME: KEY, … }, "salts": { ROOT: SALT, … } }
 *
 * where KEY and SALT are 32 bytes in base64.
 */

import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

import { ThawError, errorCode, makeDirectoryDurably, syncDirectory } from '../base/index.ts';
import { KeysInsecureFileError, KeysMalformedFileError, KeysUnavailableError } from './errors.ts';
import { withFileLock } from './file-lock.ts';
import { keySizeBytes } from './key-wrapping.ts';

const fileFormat = 'thaw-keyring';
const fileVersion = 1;

export type SecretKind = 'tenants' | 'salts';

/** Secrets of 32 bytes by name. */
export type KeyringSecrets = Readonly<Record<SecretKind, ReadonlyMap<string, Uint8Array>>>;

const noSecrets: KeyringSecrets = { tenants: new Map(), salts: new Map() };

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseSecrets(path: string, kind: SecretKind, value: unknown): Map<string, Uint8Array> {
  if (!isRecord(value)) throw new KeysMalformedFileError(path, `"${kind}" is not an object`);
  const secrets = new Map<string, Uint8Array>();
  for (const [name, encoded] of Object.entries(value)) {
    const secret = typeof encoded === 'string' ? Buffer.from(encoded, 'base64') : undefined;
    if (secret?.byteLength !== keySizeBytes || secret.toString('base64') !== encoded) {
      const entry = `the entry ${JSON.stringify(name)} of "${kind}"`;
      throw new KeysMalformedFileError(path, `${entry} is not ${keySizeBytes} bytes in base64`);
    }
    secrets.set(name, secret);
  }
  return secrets;
}

/** Throws `ERR_KEYS_MALFORMED_FILE`, which never quotes the text. */
export function parseKeyring(path: string, text: string): KeyringSecrets {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new KeysMalformedFileError(path, 'it is not JSON'); // the parser's own message quotes the text
  }
  if (!isRecord(document) || document['format'] !== fileFormat) {
    throw new KeysMalformedFileError(path, `its "format" is not "${fileFormat}"`);
  }
  if (document['version'] !== fileVersion) {
    throw new KeysMalformedFileError(path, `its "version" is not ${fileVersion}`);
  }
  return {
    tenants: parseSecrets(path, 'tenants', document['tenants']),
    salts: parseSecrets(path, 'salts', document['salts']),
  };
}

function formatSecrets(secrets: ReadonlyMap<string, Uint8Array>): Record<string, string> {
  return Object.fromEntries(
    [...secrets].map(([name, secret]) => [name, Buffer.from(secret).toString('base64')]),
  );
}

export function formatKeyring({ tenants, salts }: KeyringSecrets): string {
  const document = {
    format: fileFormat,
    version: fileVersion,
    tenants: formatSecrets(tenants),
    salts: formatSecrets(salts),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** What tells one version of the file from another. */
interface FileVersion {
  readonly ino: bigint;
  readonly ctimeNs: bigint;
  readonly size: bigint;
}

export class KeyringFile {
  readonly path: string;
  #version: FileVersion | undefined;
  #secrets: KeyringSecrets = noSecrets;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * The secrets as of now; none while there is no file. The file is read again only when it
   * changed.
   */
  async read(): Promise<KeyringSecrets> {
    try {
      const found = await stat(this.path, { bigint: true });
      const known = this.#version;
      const isKnown =
        known !== undefined &&
        found.ino === known.ino &&
        found.ctimeNs === known.ctimeNs &&
        found.size === known.size;
      return isKnown ? this.#secrets : await this.#load();
    } catch (thrown) {
      if (errorCode(thrown) === 'ENOENT') return noSecrets;
      throw this.#error(thrown);
    }
  }

  /**
   * The secret of that name; `make` makes it if no process has, or throws. It is durable once this resolves.
   */
  async getOrAdd(
    kind: SecretKind,
    name: string,
    make: () => Promise<Uint8Array>,
  ): Promise<Uint8Array> {
    const found = (await this.read())[kind].get(name);
    if (found !== undefined) return found;
    try {
      await makeDirectoryDurably(dirname(this.path), 0o700);
      return await withFileLock(`${this.path}.lock`, async () => {
        const secrets = await this.read();
        const foundByNow = secrets[kind].get(name);
        if (foundByNow !== undefined) return foundByNow;
        const secret = await make();
        await this.#replace({ ...secrets, [kind]: new Map([...secrets[kind], [name, secret]]) });
        return secret;
      });
    } catch (thrown) {
      throw this.#error(thrown);
    }
  }

  async #load(): Promise<KeyringSecrets> {
    const handle = await open(this.path, 'r');
    try {
      const found = await handle.stat({ bigint: true });
      if (!found.isFile()) throw new KeysMalformedFileError(this.path, 'it is not a file');
      if ((found.mode & 0o077n) !== 0n) {
        const mode = (found.mode & 0o777n).toString(8);
        throw new KeysInsecureFileError(this.path, `others may use it, its mode is ${mode}`);
      }
      if (found.uid !== 0n && found.uid !== BigInt(process.geteuid?.() ?? 0)) {
        throw new KeysInsecureFileError(this.path, `it belongs to user ${found.uid}`);
      }
      this.#secrets = parseKeyring(this.path, await handle.readFile('utf8'));
      this.#version = { ino: found.ino, ctimeNs: found.ctimeNs, size: found.size };
      return this.#secrets;
    } finally {
      await handle.close();
    }
  }

  /** Under the lock only. */
  async #replace(secrets: KeyringSecrets): Promise<void> {
    const temporary = `${this.path}.new`;
    await rm(temporary, { force: true }); // of a writer that died
    const handle = await open(temporary, 'wx', 0o600);
    try {
      await handle.writeFile(formatKeyring(secrets));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, this.path);
    await syncDirectory(dirname(this.path));
  }

  #error(thrown: unknown): unknown {
    return thrown instanceof ThawError ? thrown : new KeysUnavailableError(this.path, thrown);
  }
}
