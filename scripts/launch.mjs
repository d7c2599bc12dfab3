#!/usr/bin/env node
// Runs a TypeScript program of Thaw on the Node that Thaw pins, whatever Node (>= 20) started this file:
// installs what package-lock.json says when node_modules is missing or older than it, then hands over.
// Plain JavaScript without dependencies, because nothing is installed yet when it runs.

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join, resolve } from 'node:path';

const root = resolve(import.meta.dirname ?? join(new URL('.', import.meta.url).pathname), '..');
const modules = join(root, 'node_modules');
const pinnedNode = join(modules, 'node', 'bin', 'node');
const stampFile = join(modules, '.thaw-installed');

function lockDigest() {
  return createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
}

function isInstalled() {
  return (
    existsSync(pinnedNode) &&
    existsSync(stampFile) &&
    readFileSync(stampFile, 'utf8') === lockDigest()
  );
}

function install() {
  process.stderr.write('Installing what package-lock.json says (npm ci)...\n');
  const { status, error } = spawnSync(
    'npm',
    ['ci', '--no-audit', '--no-fund', '--loglevel=error'],
    {
      cwd: root,
      stdio: ['ignore', 2, 2],
    },
  );
  if (status !== 0 || !existsSync(pinnedNode)) {
    const why = error === undefined ? `npm ci ended with status ${status}` : error.message;
    process.stderr.write(`thaw: cannot install the dependencies: ${why}\n`);
    process.exit(1);
  }
  writeFileSync(stampFile, lockDigest());
}

/** Becomes the program as far as a Node process can: same streams, signals passed on, same end. */
function handOver(program, args) {
  const path = `${join(modules, '.bin')}${delimiter}${process.env.PATH ?? ''}`;
  const child = spawn(pinnedNode, [join(root, program), ...args], {
    stdio: 'inherit',
    env: { ...process.env, PATH: path },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      // Ctrl-C reaches the whole foreground group by itself; only a signal sent to us alone must be passed on.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('error', (error) => {
    process.stderr.write(`thaw: cannot start ${pinnedNode}: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (status, signal) => {
    process.exit(signal === null ? status : 128 + constants.signals[signal]);
  });
}

if (!isInstalled()) install();
const [program, ...args] = process.argv.slice(2);
handOver(program, args);
