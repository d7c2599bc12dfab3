/** House rules that neither the compiler nor the linter can hold, each with what to do instead. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';

import { exitStatusByCode } from '../src/cli/exit-status.ts';
import { projectRoot, sourceFiles, type SourceFile } from './support/source-files.ts';

const sources = sourceFiles('src');
const shipped = sources.filter(
  ({ path }) => !path.endsWith('.test.ts') && !path.includes('/testing/'),
);
const everything = [...sources, ...sourceFiles('scripts', 'test', 'bench')];

/** Bytes in, bytes out. The files of chunk that spread its pure work over threads are not part of that. */
const pure = shipped.filter(
  ({ path }) => /^src\/(ext4|chunk|erasure)\//.test(path) && !/-(pool|worker)\.ts$/.test(path),
);

/** Where settings of the machine come in; every other room is told. */
const doors = /^src\/(base|cli)\//;

interface Ban {
  readonly what: string;
  readonly pattern: RegExp;
  readonly instead: string;
  readonly files: readonly SourceFile[];
}

const inputOrOutput =
  /'node:(fs|fs\/promises|net|http|https|dns|os|child_process|worker_threads|timers|timers\/promises)'/;

/** Patterns are held against the code alone: comments may speak of anything. */
const bans: readonly Ban[] = [
  {
    what: 'input or output in a pure room',
    pattern: inputOrOutput,
    instead: 'take bytes and give bytes; the caller moves them',
    files: pure,
  },
  {
    what: 'randomness in a pure room',
    pattern: /\bMath\.random\b/,
    instead: 'take it as an argument',
    files: pure,
  },
  {
    what: 'a clock in a pure room',
    pattern: /\b(Date\.now|new Date\(\)|performance\.now)\b/,
    instead: 'take it as an argument',
    files: pure,
  },
  {
    what: 'a setting read from the environment',
    pattern: /(?<!: NodeJS\.ProcessEnv = |\.\.\.)\bprocess\.env\b(?!\['PATH'\])/,
    instead:
      'read it in src/cli and pass it on, or take (environment: NodeJS.ProcessEnv = process.env)',
    files: shipped.filter(({ path }) => !doors.test(path)),
  },
  {
    what: 'a test that runs alone or not at all',
    pattern: /\b(test|it|describe|suite)\.(only|todo)\(|\bonly: true\b/,
    instead: 'let every test run',
    files: everything,
  },
  {
    what: 'a limit to the time of a test',
    pattern: /\{ (skip\b[^,]*, )?timeout: [^}]+ \},/,
    instead: 'leave it to scripts/test.ts, whose limit a busy machine does not reach either',
    files: everything.filter(({ path }) => path.endsWith('.test.ts')),
  },
  {
    // What is declared only after another's end is unknown to Node then: it takes all tests for ended, and the watch for
    // what they leave open (scripts/leak-watch.ts) begins.
    what: 'waiting for a test before the next is declared',
    pattern: /\bawait (test|it|describe|suite)\(/,
    instead: 'declare one after the other; they run one after the other anyway',
    files: everything.filter(({ path }) => path.endsWith('.test.ts')),
  },
];

/** Fails with `path:line` of every line that breaks a rule. `code` is the line without its comments. */
function assertEveryLine(
  files: readonly SourceFile[],
  breaks: (line: { text: string; textBefore: string; code: string }) => boolean,
): void {
  const places = files.flatMap((file) => {
    const texts = file.text.split('\n');
    return file.code.split('\n').flatMap((code, index) => {
      const line = { text: texts[index] ?? '', textBefore: texts[index - 1] ?? '', code };
      return breaks(line) ? [`${file.path}:${index + 1}`] : [];
    });
  });
  assert.deepEqual(places, []);
}

for (const { what, pattern, instead, files } of bans) {
  test(`${what} is banned: ${instead}`, () => {
    assertEveryLine(files, ({ code }) => pattern.test(code));
  });
}

test('memory that is not zeroed is asked for in pure rooms only where a comment says why', () => {
  assertEveryLine(pure, ({ text, textBefore, code }) => {
    return /\ballocUnsafe/.test(code) && !/\/\/|\*/.test(textBefore + text);
  });
});

// This file speaks of the words that it bans.
const others = everything.filter(({ path }) => path !== 'test/tidy.test.ts');

test('a TODO names its issue: TODO(#12)', () => {
  assertEveryLine(others, ({ text }) => /\bTODO\b(?!\(#\d+\))/.test(text));
});

test('a linter rule is disabled for one line and with a reason: oxlint-disable-next-line RULE -- REASON', () => {
  assertEveryLine(others, ({ text }) => {
    return /lint-disable/.test(text) && !/oxlint-disable-next-line \S+ -- \S/.test(text);
  });
});

test('no file is named for what it is not about: utils, helpers, common, misc', () => {
  const vague = /^(utils?|helpers?|common|misc)\.ts$/;
  const named = everything.map(({ path }) => path).filter((path) => vague.test(basename(path)));
  assert.deepEqual(named, []);
});

/** Codes of Node itself that the sources look for. */
const foreignCodes = /^ERR_(ZLIB|ZSTD|STREAM|SOCKET|HTTP|INVALID|SYSTEM)/;

test('every error code of src has its exit status, and every code of the table is raised', () => {
  const codes = new Set(
    shipped
      .filter(({ path }) => path !== 'src/cli/exit-status.ts')
      .flatMap(({ code }) =>
        [...code.matchAll(/'(ERR_[A-Z0-9_]*[A-Z0-9])'/g)].map(([, found = '']) => found),
      ),
  );
  const listed = Object.keys(exitStatusByCode);
  assert.deepEqual(
    {
      raisedButNotListed: [...codes].filter(
        (code) => !foreignCodes.test(code) && !listed.includes(code),
      ),
      listedButNotRaised: listed.filter((code) => !codes.has(code)),
    },
    { raisedButNotListed: [], listedButNotRaised: [] },
  );
});

const declaration =
  /^export (?:declare )?(?:abstract )?(?:async )?(function\*?|const|let|class|interface|type) (\w+)(.*)$/gm;

interface Declaration {
  readonly place: string;
  readonly name: string;
  readonly isDocumented: boolean;
}

/**
 * A declaration speaks by the comment above it, or by that of the constant in the line above; a type also through its
 * members or what it extends; an error through its message.
 */
function declarationsOf({ path, text }: SourceFile): Declaration[] {
  const declarations: Declaration[] = [];
  for (const found of text.matchAll(declaration)) {
    const [line, kind = '', name = ''] = found;
    const above = text.slice(0, found.index);
    const body = text.slice(found.index, text.indexOf('\n}', found.index));
    const isType = kind === 'interface' || kind === 'type';
    const isDocumented =
      above.trimEnd().endsWith('*/') ||
      (isType && (/ extends /.test(line) || body.includes('/**'))) ||
      / extends \w*Error\b/.test(line) ||
      (/\nexport const [^\n]*;\n$/.test(above) && declarations.at(-1)?.isDocumented === true);
    declarations.push({ place: `${path}: ${name}`, name, isDocumented });
  }
  return declarations;
}

/** What a room's index.ts hands on. */
function faceOf(index: SourceFile): Declaration[] {
  const exported = index.code.matchAll(/export (?:\*|(?:type )?\{([^}]*)\}) from '([^']+)'/g);
  return [...exported].flatMap(([, list, from = '']) => {
    const file = sources.find(({ path }) => path === join(index.path, '..', from));
    const names = list?.split(',').map((name) => name.trim().replace(/^type /, ''));
    const all = file === undefined ? [] : declarationsOf(file);
    return names === undefined ? all : all.filter(({ name }) => names.includes(name));
  });
}

test('everything that a room hands out says what it is', () => {
  const faces = sources.filter(({ path }) => basename(path) === 'index.ts').flatMap(faceOf);
  assert.ok(faces.length > 50, 'the scan found what the rooms hand out');
  assert.deepEqual(
    faces.filter(({ isDocumented }) => !isDocumented).map(({ place }) => place),
    [],
  );
});

test('no file names the place of this checkout', (t) => {
  const git = ['-c', 'safe.directory=*', 'ls-files', '-z'];
  const { status, stdout } = spawnSync('git', git, { cwd: projectRoot, encoding: 'utf8' });
  if (status !== 0) return t.skip('not a git checkout');
  const naming = stdout
    .split('\0')
    .filter((path) => path !== '' && existsSync(join(projectRoot, path)))
    .filter((path) => readFileSync(join(projectRoot, path), 'latin1').includes(`${projectRoot}/`));
  assert.deepEqual(naming, []);
});
