import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';

import fc from 'fast-check';

import { serveLocally } from '../../test/support/local-server.ts';
import { AnswerReader, type Answer } from './http-answer.ts';

/** What a real server sends, of which the tests cut pieces. */
async function sentBy(listener: RequestListener, version = '1.1'): Promise<Buffer> {
  await using running = await serveLocally(createServer(listener));
  const { hostname, port } = new URL(`http://${running.host}`);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  socket.end(`GET / HTTP/${version}\r\nhost: ${running.host}\r\n\r\n`);
  return await buffer(socket);
}

/** As a connection reads it, in pieces of these lengths: some into memory of its own, some into the answer's. */
function read(bytes: Uint8Array, lengths: readonly number[], bodyMaxBytes = 1e6): AnswerReader {
  const reader = new AnswerReader(bodyMaxBytes);
  const [...left] = lengths;
  for (let at = 0; at < bytes.byteLength;) {
    const piece = bytes.subarray(at, at + (left.shift() ?? bytes.byteLength));
    const room = reader.room();
    const countBytes = Math.min(piece.byteLength, room?.byteLength ?? Infinity);
    room?.set(piece.subarray(0, countBytes));
    const isWhole = room === undefined ? reader.take(piece) : reader.filled(countBytes);
    at += countBytes;
    assert.ok(!isWhole || at === bytes.byteLength);
  }
  return reader;
}

const text = (answer: Answer): string => Buffer.from(answer.body).toString();
const lengths = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 40 });

test('a body of known length is the same however it is cut, in an array of its size', async () => {
  const sent = await sentBy((_, response) => {
    response.writeEarlyHints({ link: '</a>; rel=preload' });
    response.writeHead(200, { 'content-length': 300, 'X-Two': ['a', 'b'] }).end('abc'.repeat(100));
  });
  fc.assert(
    fc.property(lengths, (cut) => {
      const reader = read(sent, cut);
      const answer = reader.answer();
      assert.equal(answer.status, 200);
      assert.equal(answer.headers['x-two'], 'a, b');
      assert.equal(text(answer), 'abc'.repeat(100));
      assert.equal(answer.body.buffer.byteLength, 300);
      assert.equal(reader.isKept, true);
    }),
  );
});

test("an error's body is read in chunks, and to the connection's end, however it is cut", async () => {
  const listener: RequestListener = ({ httpVersion }, response) => {
    response.writeHead(404, httpVersion === '1.1' ? { trailer: 'x-after' } : {});
    response.addTrailers({ 'x-after': 'yes' });
    for (const part of ['<Code>', 'NoSuchKey', '</Code>']) response.write(part);
    response.end();
  };
  const chunked = await sentBy(listener);
  assert.match(chunked.toString(), /transfer-encoding: chunked/i);
  const plain = await sentBy(listener, '1.0');
  assert.doesNotMatch(plain.toString(), /transfer-encoding/i);
  fc.assert(
    fc.property(lengths, (cut) => {
      const one = read(chunked, cut);
      assert.equal(text(one.answer()), '<Code>NoSuchKey</Code>');
      assert.equal(one.isKept, true);
      const other = read(plain, cut);
      assert.equal(other.ended(), true);
      assert.equal(text(other.answer()), '<Code>NoSuchKey</Code>');
      assert.equal(other.isKept, false);
    }),
  );
});

test('of a long error the beginning is read, and the connection not used again', async () => {
  for (const headers of [{ 'content-length': 200_000 }, {}]) {
    const sent = await sentBy((_, response) => {
      response.writeHead(500, headers).end(Buffer.alloc(200_000, 'x'));
    });
    const reader = read(sent, []);
    const { body } = reader.answer();
    assert.ok(body.byteLength > 65_000 && body.byteLength <= 65_536);
    assert.ok(body.every((byte) => byte === 120));
    assert.equal(reader.isKept, false);
  }
});

test('a connection that the server closes, or says too much over, is not kept', () => {
  for (const [head, rest] of [
    ['HTTP/1.1 200 OK\r\ncontent-length: 1\r\nConnection: Close\r\n\r\n', 'x'],
    ['HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n', 'x'],
    ['HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n', 'xy'],
    ['HTTP/1.1 404 \r\ntransfer-encoding: chunked\r\n\r\n', '1\r\nx\r\n0\r\n\r\ny'],
  ] as const) {
    const reader = read(Buffer.from(head + rest), []);
    assert.equal(text(reader.answer()), 'x');
    assert.equal(reader.isKept, false);
  }
});

test('an answer that ends too early is not whole', () => {
  for (const sent of [
    'HTTP/1.1 200 OK\r\ncontent-le',
    'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nx',
    'HTTP/1.1 404 \r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n',
  ]) {
    assert.equal(read(Buffer.from(sent), []).ended(), false);
  }
});

for (const [what, sent, message] of [
  ['no HTTP', '220 smtp.example\r\n\r\n', /not HTTP/],
  ['of a version to come', 'HTTP/2 200\r\n\r\n', /not HTTP/],
  [
    'of two lengths',
    'HTTP/1.1 200 \r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n',
    /length is 1, 2/,
  ],
  ['of a negative length', 'HTTP/1.1 404 \r\ncontent-length: -1\r\n\r\n', /length is -1/],
  ['too long', 'HTTP/1.1 200 \r\ncontent-length: 101\r\n\r\n', /length is 101, expected up to 100/],
  ['of no length', 'HTTP/1.1 200 \r\n\r\n', /length is undefined/],
  ['a folded header', 'HTTP/1.1 200 \r\na: b\r\n c\r\n\r\n', /header/],
  ['a header of spaces', 'HTTP/1.1 200 \r\ncontent-length : 1\r\n\r\n', /header/],
  ['a chunk without a size', 'HTTP/1.1 404 \r\ntransfer-encoding: chunked\r\n\r\nx\r\n', /chunk/],
  ['a head without an end', `HTTP/1.1 200 ${'x'.repeat(70_000)}`, /head has no end/],
] as const) {
  test(`an answer that is ${what} is refused`, () => {
    assert.throws(() => read(Buffer.from(sent), [], 100), { message });
  });
}
