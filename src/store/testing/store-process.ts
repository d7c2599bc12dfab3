/**
 * A process of its own that puts objects into a directory store at the same time as others. It
 * prints `ready`, waits for a line on standard input, and prints one line an object: its name and
 * the outcome.
 *
 *   store-process.ts PATH race WRITER COUNT   puts race/0, race/1, …, each with bytes that tell the writer
 *   store-process.ts PATH flood WRITER COUNT  puts objects of many sizes, named after the hash of their bytes, 4 at once
 */

import { hash } from 'node:crypto';
import { once } from 'node:events';

import { forEachLimited } from '../../base/index.ts';
import { openDirectoryStore } from '../directory-store.ts';

const [path = '', mode = '', writer = '', count = ''] = process.argv.slice(2);

/** Of up to 4 MiB, which is several writes, and different for every writer and number. */
function objectOf(number: number): Buffer {
  const sizeBytes = 1 + ((number * 7919 + Number(writer) * 104_729) % (4 * 1024 * 1024));
  return Buffer.alloc(sizeBytes, `writer ${writer} object ${number};`);
}

const store = await openDirectoryStore(path);
process.stdout.write('ready\n');
await once(process.stdin, 'data');
const numbers = Array.from({ length: Number(count) }, (_, number) => number);
await forEachLimited(numbers, mode === 'race' ? 1 : 4, async (number) => {
  const bytes = objectOf(number);
  const name = mode === 'race' ? `race/${number}` : `flood/${hash('sha256', bytes)}`;
  const outcome = await store.putIfAbsent(name, bytes);
  process.stdout.write(`${name} ${outcome}\n`);
});
process.stdin.destroy();
