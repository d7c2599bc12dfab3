/**
 * A process of its own that uses a keyring at the same time as others: `keyring-process.ts PATH
 * TENANT...`. Waits for a line on standard input, then makes a data key for each tenant and prints
 * one JSON line for each.
 */

import { once } from 'node:events';

import { openLocalKeyring } from '../local-keyring.ts';

const [path = '', ...tenants] = process.argv.slice(2);
const service = await openLocalKeyring(path);
process.stdout.write('ready\n');
await once(process.stdin, 'data');
for (const tenant of tenants) {
  const { plaintext, wrapped } = await service.generateDataKey(tenant, { tenant });
  const salt = await service.salt(tenant);
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  const line = { tenant, plaintext: hex(plaintext), wrapped: hex(wrapped), salt: hex(salt) };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
process.stdin.destroy();
