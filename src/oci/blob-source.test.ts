import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { errorCode } from '../base/index.ts';
import { readDocument, verified, withFreshCopies } from './blob-source.ts';
import { OciDigestMismatchError, OciNotFoundError } from './errors.ts';

async function* repeat(chunk: Uint8Array): AsyncGenerator<Uint8Array> {
  for (;;) yield chunk;
}

async function* once(chunk: Uint8Array): AsyncGenerator<Uint8Array> {
  yield chunk;
}

const contents = Buffer.from('contents');

test('verified() stops a stream without an end at the first byte too many', async () => {
  let passedBytes = 0;
  const pass = async () => {
    const expected = { digest: undefined, sizeBytes: 100 };
    for await (const chunk of verified('it', repeat(contents), expected)) {
      passedBytes += chunk.byteLength;
    }
  };
  await assert.rejects(pass(), { code: 'ERR_OCI_SIZE_MISMATCH' });
  assert.equal(passedBytes, 96);
});

for (const algorithm of ['sha256', 'sha512']) {
  test(`readDocument() checks ${algorithm} digests`, async () => {
    const digest = `${algorithm}:${createHash(algorithm).update(contents).digest('hex')}`;
    const read = (chunk: Uint8Array) =>
      readDocument('it', { kind: 'stream', chunks: once(chunk) }, { digest, sizeBytes: 8 });
    assert.deepEqual(await read(contents), contents);
    await assert.rejects(read(Buffer.from('contentz')), { code: 'ERR_OCI_DIGEST_MISMATCH' });
  });
}

test('withFreshCopies() tries damaged copies of remote sources three times, and nothing else', async () => {
  const damaged = new OciDigestMismatchError('it', 'a', 'b');
  const gone = new OciNotFoundError('it', 'there', 'look');
  for (const [isRemote, failure, expected] of [
    [true, damaged, 3],
    [false, damaged, 1],
    [true, gone, 1],
  ] as const) {
    let tries = 0;
    const work = async () => {
      tries += 1;
      throw failure;
    };
    const outcome = await withFreshCopies({ isRemote }, work).catch(errorCode);
    assert.equal(outcome, failure.code);
    assert.equal(tries, expected);
  }
});
