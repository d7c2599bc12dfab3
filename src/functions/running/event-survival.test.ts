/** Events outlive the process that accepted them, wherever it is killed. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { openServiceFixture } from '../testing/service-fixture.ts';
import { respond } from '../testing/simulated-worker.ts';

const serverPath = fileURLToPath(import.meta.resolve('../testing/event-server.ts'));

/** Runs a server until it has written so many lines, and kills it. */
async function linesUntilKilled(directory: string, lineCount: number): Promise<string[]> {
  const server = spawn(process.execPath, [serverPath, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(server, 'exit');
  const lines: string[] = [];
  for await (const line of createInterface(server.stdout)) {
    lines.push(line);
    if (lines.length === lineCount) server.kill('SIGKILL');
  }
  const [, signal] = (await ended) as [unknown, string];
  assert.equal(signal, 'SIGKILL');
  return lines;
}

for (const lineCount of [1, 20, 57]) {
  test(`after SIGKILL at line ${lineCount} the next server runs every event that was accepted and had not run`, async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'thaw-events-'));
    t.after(() => rm(directory, { recursive: true }));
    const lines = await linesUntilKilled(directory, lineCount);
    const idsAfter = (word: string): string[] =>
      lines.flatMap((line) => (line.startsWith(`${word} `) ? [line.slice(word.length + 1)] : []));
    const ran = new Set(idsAfter('ran'));
    await using fixture = await openServiceFixture({
      directory,
      program: () => ({
        handle: async ({ requestId }) => {
          ran.add(requestId);
          return respond(1);
        },
      }),
    });
    fixture.service.takeUpEvents();
    await fixture.time.pass(3_600_000);
    const accepted = idsAfter('accepted');
    assert.ok(accepted.length > 0);
    assert.deepEqual(
      accepted.filter((id) => !ran.has(id)),
      [],
    );
    assert.equal(await fixture.catalog.countEvents('default'), 0);
  });
}
