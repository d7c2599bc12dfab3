import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import type { Reply } from './memcached-protocol.ts';
import { ReplyReader } from './memcached-reply-reader.ts';

const valueMaxBytes = 20_000;

interface Heard {
  readonly replies: Reply[];
  readonly faults: string[];
}

/** Gives the reader `bytes` in pieces, as a socket does: each as long as the next of `pieces` says and there is room for. */
function read(bytes: Uint8Array, pieces: readonly number[], wants: readonly boolean[] = []): Heard {
  const heard: Heard = { replies: [], faults: [] };
  let values = 0;
  const reader = new ReplyReader({
    valueMaxBytes,
    scanBytes: 4096,
    sink: {
      wantsValue: () => wants[values++ % Math.max(wants.length, 1)] ?? true,
      reply: (reply) => heard.replies.push(reply),
      fault: (reason) => heard.faults.push(reason),
    },
  });
  for (let at = 0, turn = 0; at < bytes.byteLength; turn += 1) {
    const target = reader.target();
    assert.ok(target.byteLength > 0, 'there is room for what comes next');
    const lengthBytes = pieces[turn % Math.max(pieces.length, 1)] ?? bytes.byteLength;
    const piece = bytes.subarray(at, at + Math.min(lengthBytes, target.byteLength));
    target.set(piece);
    reader.received(piece.byteLength);
    at += piece.byteLength;
  }
  return heard;
}

const latin1 = (text: string): Uint8Array => Buffer.from(text, 'latin1');

/** What a server sends for a reply. */
function sent(reply: Reply): Uint8Array {
  if (reply.kind === 'line') return latin1(`${reply.line}\r\n`);
  if (reply.kind === 'skipped') return latin1('VA 7\r\nskipped\r\n');
  return Buffer.concat([latin1(`VA ${reply.value.byteLength}\r\n`), reply.value, latin1('\r\n')]);
}

const pieceLengths = fc.array(
  fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 6000 })),
  {
    minLength: 1,
    maxLength: 20,
  },
);

const lines = fc.constantFrom('HD', 'EN', 'NF', 'MN', 'OK', 'SERVER_ERROR out of memory', '', 'VA');
const replies = fc.array(
  fc.oneof(
    lines.map((line): Reply => ({ kind: 'line', line })),
    fc
      .oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 3000, maxLength: 9000 }))
      .map((value): Reply => ({ kind: 'value', value })),
  ),
  { maxLength: 8 },
);

test('replies are the same however the bytes of them are cut', () => {
  fc.assert(
    fc.property(replies, pieceLengths, (expected, pieces) => {
      const heard = read(Buffer.concat(expected.map(sent)), pieces);
      assert.deepEqual(heard, { replies: expected, faults: [] });
    }),
  );
});

test('values that nobody wants are passed over, and what follows them is not', () => {
  fc.assert(
    fc.property(
      replies,
      fc.array(fc.boolean(), { minLength: 1 }),
      pieceLengths,
      (all, wants, pieces) => {
        let values = 0;
        const expected = all.map((reply): Reply => {
          if (reply.kind !== 'value') return reply;
          const isWanted = wants[values % wants.length];
          values += 1;
          return isWanted === true ? reply : { kind: 'skipped' };
        });
        const heard = read(Buffer.concat(all.map(sent)), pieces, wants);
        assert.deepEqual(heard, { replies: expected, faults: [] });
      },
    ),
  );
});

test('replies cut short are those that came whole', () => {
  fc.assert(
    fc.property(replies, fc.double({ min: 0, max: 1, noNaN: true }), (all, share) => {
      const bytes = Buffer.concat(all.map(sent));
      const { replies: heard, faults } = read(bytes.subarray(0, bytes.byteLength * share), [1000]);
      assert.deepEqual(heard, all.slice(0, heard.length));
      assert.deepEqual(faults, []);
    }),
  );
});

test('a value is memory of its own', () => {
  const { replies: heard } = read(latin1('VA 2\r\nab\r\nVA 2\r\ncd\r\n'), []);
  const buffers = heard.map((reply) => reply.kind === 'value' && reply.value.buffer);
  assert.equal(new Set(buffers).size, 2);
  for (const buffer of buffers) assert.equal(buffer && buffer.byteLength, 4);
});

const faulty: Readonly<Record<string, string>> = {
  'a value that is longer than allowed': `VA ${valueMaxBytes + 1}\r\n`,
  'a value whose length is past all numbers': 'VA 999999999999999\r\n',
  'a value whose length is none': 'VA -1\r\n',
  'a length that other text follows at once': 'VA 1x\r\n',
  'a value that does not end where it said': 'VA 2\r\nabc\r\n',
  'a line feed alone': 'HD\n',
  'a line feed at the very start': '\nHD\r\n',
  'a line without an end': 'x'.repeat(5000),
};

for (const [what, text] of Object.entries(faulty)) {
  test(`${what} is a fault, and nothing after it is read`, () => {
    for (const pieces of [[], [1], [1000]]) {
      const { replies: heard, faults } = read(latin1(`EN\r\n${text}MN\r\nMN\r\n`), pieces);
      assert.deepEqual(heard, [{ kind: 'line', line: 'EN' }]);
      assert.equal(faults.length, 1);
    }
  });
}

test('no bytes at all make it throw, or read on after a fault', () => {
  const alphabet = fc.constantFrom(
    'VA ',
    '\r\n',
    '\r',
    '\n',
    'EN',
    '5',
    '20000',
    ' ',
    '\0',
    'x'.repeat(600),
  );
  const text = fc.array(alphabet, { maxLength: 40 }).map((words) => latin1(words.join('')));
  fc.assert(
    fc.property(
      fc.oneof(text, fc.uint8Array({ maxLength: 200 })),
      pieceLengths,
      (bytes, pieces) => {
        const { replies: heard, faults } = read(bytes, pieces);
        assert.ok(faults.length <= 1);
        for (const reply of heard) {
          if (reply.kind === 'value') assert.ok(reply.value.byteLength <= valueMaxBytes);
        }
      },
    ),
  );
});
