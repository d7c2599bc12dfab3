/** What this project takes from npm, and how. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { missingOptionalPackages, type LockFile } from '../scripts/complete-lock.ts';
import { projectRoot } from './support/source-files.ts';

const textOf = (name: string): string => readFileSync(join(projectRoot, name), 'utf8');
const lock = JSON.parse(textOf('package-lock.json')) as LockFile;
const manifest = JSON.parse(textOf('package.json')) as Record<string, Record<string, string>>;
const dependencies = {
  ...manifest['dependencies'],
  ...manifest['devDependencies'],
  ...manifest['optionalDependencies'],
};

test('package-lock.json names no registry: npm would ask that one wherever it installs', () => {
  const named = Object.entries(lock.packages).filter(([, { resolved }]) => resolved !== undefined);
  assert.deepEqual(named, []);
});

test('package-lock.json lists every optional package, or npm ci refuses it: run "npm run lock"', () => {
  assert.deepEqual(missingOptionalPackages(lock), []);
});

test('every dependency is pinned to one version', () => {
  const loose = Object.entries(dependencies).filter(
    ([, version]) => !/^\d+\.\d+\.\d+$/.test(version),
  );
  assert.deepEqual(loose, []);
});

test('ARCHITECTURE.md says of every dependency why it is there', () => {
  const document = textOf('ARCHITECTURE.md');
  const unexplained = Object.keys(dependencies).filter((name) => !document.includes(`\`${name}\``));
  assert.deepEqual(unexplained, []);
});
