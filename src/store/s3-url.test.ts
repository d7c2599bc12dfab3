import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseS3Url } from './s3-url.ts';

const read: Readonly<Record<string, readonly [bucket: string, prefix: string]>> = {
  's3://bucket': ['bucket', ''],
  's3://bucket/': ['bucket', ''],
  's3://my.bucket-1/thaw': ['my.bucket-1', 'thaw'],
  's3://bucket/a/b_c/D.e/': ['bucket', 'a/b_c/D.e'],
};
for (const [url, [bucket, prefix]] of Object.entries(read)) {
  test(`parseS3Url() reads ${url}`, () => {
    assert.deepEqual(parseS3Url(url), { bucket, prefix });
  });
}

const refused: Readonly<Record<string, RegExp>> = {
  '': /no s3:\/\/ URL; write s3:\/\/BUCKET/,
  'https://bucket/x': /no s3:\/\/ URL/,
  'S3://bucket': /no s3:\/\/ URL/,
  's3://': /bucket's name/,
  's3://Bucket/x': /bucket's name/,
  's3://ab': /bucket's name/,
  's3://a..b': /bucket's name/,
  's3://key:secret@bucket/x': /bucket's name/,
  's3://bucket?x=1/y': /bucket's name/,
  's3://bucket/a//b': /the prefix has only/,
  's3://bucket//a': /the prefix has only/,
  's3://bucket/../a': /the prefix has only/,
  's3://bucket/a b': /the prefix has only/,
  's3://bucket/a\nb': /the prefix has only/,
  's3://bucket/@x': /the prefix has only/,
  [`s3://bucket/${'x/'.repeat(250)}y`]: /over 400 characters/,
  's3://name--usw2-az1--x-s3': /directory buckets/,
};
for (const [url, message] of Object.entries(refused)) {
  test(`parseS3Url() refuses ${JSON.stringify(url.slice(0, 40))}`, () => {
    assert.throws(() => parseS3Url(url), { code: 'ERR_STORE_CONFIGURATION', message });
  });
}

test('parseS3Url() repeats nothing of a URL that may hold a secret', () => {
  assert.throws(
    () => parseS3Url('s3://AK:hidden@bucket/x'),
    (thrown) => !/hidden/.test(String(thrown)),
  );
});
