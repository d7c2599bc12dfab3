import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Command, CommanderError } from 'commander';

import { errorCode } from '../base/index.ts';
import type { CliContext } from './context.ts';
import {
  addFunctionOptions,
  codeIn,
  configurationIn,
  type FunctionOptions,
} from './function-options.ts';

/** What was typed, as commander hands it on. Throws where commander refuses it. */
function typed(...args: readonly string[]): FunctionOptions {
  const command = addFunctionOptions(new Command('create'));
  command.exitOverride().configureOutput({ writeErr: () => {} });
  return command.parse(args, { from: 'user' }).opts<FunctionOptions>();
}

/** Publishing is not to be tried. */
const context = {} as CliContext;

test('what was not typed is left out of the configuration', () => {
  assert.deepEqual(configurationIn(typed()), {});
  assert.deepEqual(configurationIn(typed('--env', 'A1=x=y', '--env', 'B1=')), {
    environment: { A1: 'x=y', B1: '' },
  });
});

test('every option finds its place in the configuration', () => {
  const line =
    '--description d --memory 256 --timeout 9 --tmp 1024 --entrypoint ["/bin/a"] --command ["b","c"] ' +
    '--workdir /srv --network nat --web-port 8080 --runtime r --handler h';
  const options = typed(...line.split(' '));
  assert.deepEqual(configurationIn(options), {
    description: 'd',
    memoryMb: 256,
    timeoutSeconds: 9,
    ephemeralStorageMb: 1024,
    imageConfig: { entrypoint: ['/bin/a'], command: ['b', 'c'], workingDir: '/srv' },
    network: 'nat',
    webServer: { port: 8080, readyPath: '/' },
    runtime: 'r',
    handler: 'h',
  });
});

test('code is a published image, or a zip archive wherever the server runs', async () => {
  assert.deepEqual(await codeIn(context, typed('--image', 'app')), { image: 'app' });
  assert.deepEqual(await codeIn(context, typed('--zip', '/srv/f.zip')), { zipPath: '/srv/f.zip' });
  const relative = await codeIn(context, typed('--zip', 'f.zip'));
  assert.deepEqual(relative, { zipPath: `${process.cwd()}/f.zip` });
  assert.equal(await codeIn(context, typed()), undefined);
});

test('what cannot be meant together is refused', async () => {
  const cases: readonly (readonly string[])[] = [
    ['--image', 'x', '--zip', 'y'],
    ['--zip', 'y', '--platform', 'linux/amd64'],
    ['--image', 'x', '--user', 'a:b'],
    ['--image', 'x', '--plain-http'],
    ['--compress', 'zstd'],
  ];
  for (const args of cases) {
    const refused = (thrown: unknown): boolean => errorCode(thrown) === 'ERR_CLI_USAGE';
    await assert.rejects(codeIn(context, typed(...args)), refused, args.join(' '));
  }
  assert.throws(
    () => configurationIn(typed('--web-ready-path', '/')),
    (thrown) => errorCode(thrown) === 'ERR_CLI_USAGE',
  );
});

test('what is no value of its option is refused', () => {
  for (const args of [
    ['--network', 'all'],
    ['--env', 'A'],
    ['--env', '=x'],
    ['--memory', '1.5'],
    ['--web-port', '-1'],
    ['--entrypoint', 'sh'],
    ['--command', '[1]'],
  ]) {
    assert.throws(() => typed(...args), CommanderError, args.join(' '));
  }
});
