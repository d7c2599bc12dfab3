/** Self-signed certificates for servers on loopback, made by openssl. */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { runCommand } from '../../src/base/index.ts';

export interface Certificate {
  /** PEM. */
  readonly key: string;
  /** PEM; it is its own authority. */
  readonly certificate: string;
  readonly certificatePath: string;
}

/** Makes an ECDSA P-256 key and a certificate of two days for 127.0.0.1; both lie in `dir`. */
export async function makeCertificate(dir: string): Promise<Certificate> {
  const keyPath = join(dir, 'key.pem');
  const certificatePath = join(dir, 'certificate.pem');
  const kind = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const subject = ['-subj', '/CN=thaw-test', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const files = ['-days', '2', '-keyout', keyPath, '-out', certificatePath];
  await runCommand('openssl', ['req', ...kind, ...subject, ...files]);
  return {
    key: await readFile(keyPath, 'utf8'),
    certificate: await readFile(certificatePath, 'utf8'),
    certificatePath,
  };
}
