/**
 * Loaded into every test file by scripts/test.ts. A file that does not end by itself once its tests have ended has left
 * something open (a server, a timer, a child process): this says what, and fails the file instead of letting the run wait.
 * Its tests have ended when those declared so far have: a file declares all of them at once (test/tidy.test.ts).
 */

import { after } from 'node:test';
import { isMainThread } from 'node:worker_threads';

/** Far above what giving things back takes on a busy machine; a file that leaves nothing open waits for none of it. */
const graceMs = 10_000;

function failFile(): void {
  const open = process.getActiveResourcesInfo().join(', ');
  process.stderr.write(`${process.argv[1]} has ended its tests and left open: ${open}\n`);
  process.exit(1);
}

// Programs and threads that a test starts may inherit this module; only the file itself is watched.
const isTestFile = isMainThread && /\.test\.m?[jt]s$/.test(process.argv[1] ?? '');
if (isTestFile && process.env['NODE_TEST_CONTEXT'] !== undefined) {
  after(() => {
    setTimeout(failFile, graceMs).unref();
  });
}
