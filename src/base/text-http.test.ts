import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { serveText, type TextPages } from './text-http.ts';
import { callUnixJson, serveUnixJson } from './unix-http.ts';

const pages: TextPages = {
  '/metrics': async () => 'thaw_test 1\n',
  '/broken': async () => Promise.reject(new Error('a secret of the page')),
};

test('pages are served over TCP, and nothing else is', async () => {
  await using server = await serveText({ host: '127.0.0.1', port: 0 }, pages);
  const url = (path: string): string => `http://127.0.0.1:${server.port}${path}`;
  const found = await fetch(url('/metrics?name=x'));
  assert.deepEqual([found.status, await found.text()], [200, 'thaw_test 1\n']);
  assert.match(found.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const broken = await fetch(url('/broken'));
  assert.equal(broken.status, 500);
  assert.doesNotMatch(await broken.text(), /secret/);
  for (const path of ['/', '/metrics/x', '/toString']) {
    assert.equal((await fetch(url(path))).status, 404, path);
  }
  assert.equal((await fetch(url('/metrics'), { method: 'POST' })).status, 404);
  await assert.rejects(serveText({ host: '127.0.0.1', port: server.port }, pages), {
    code: 'EADDRINUSE',
  });
});

test('pages are served on a Unix socket, beside its calls', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'thaw-text-'));
  t.after(() => rm(directory, { recursive: true }));
  const socketPath = join(directory, 's');
  await using _server = await serveUnixJson(socketPath, { 'GET /call': async () => 7 }, pages);
  assert.equal(await callUnixJson(socketPath, 'GET', '/call'), 7);
  const text = await new Promise<string>((resolve, reject) => {
    const asked = request({ socketPath, path: '/metrics' }, (response) => {
      response.setEncoding('utf8').on('data', resolve);
    });
    asked.once('error', reject).end();
  });
  assert.equal(text, 'thaw_test 1\n');
});
