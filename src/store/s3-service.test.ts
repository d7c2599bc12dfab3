import assert from 'node:assert/strict';
import { test } from 'node:test';

import { openS3Service, type ServiceOptions } from './s3-service.ts';

const given: ServiceOptions = {
  bucket: 'bucket',
  pathStyle: false,
  credentials: () => assert.fail('opening asks for no credentials'),
  clockOffsetMs: 0,
  connectTimeoutMs: 1000,
  idleTimeoutMs: 1000,
};

const urls: Readonly<Record<string, readonly [options: Partial<ServiceOptions>, url: string]>> = {
  'AWS, by the host name of the bucket': [
    { region: 'eu-central-1' },
    'https://bucket.s3.eu-central-1.amazonaws.com/',
  ],
  'AWS in China, which has a domain of its own': [
    { region: 'cn-north-1' },
    'https://bucket.s3.cn-north-1.amazonaws.com.cn/',
  ],
  'a bucket with dots, which no certificate has': [
    { region: 'us-east-1', bucket: 'my.bucket' },
    'https://s3.us-east-1.amazonaws.com/my.bucket/',
  ],
  'AWS, by the path': [
    { region: 'us-east-1', pathStyle: true },
    'https://s3.us-east-1.amazonaws.com/bucket/',
  ],
  'another server, by the path': [
    { region: 'x', endpoint: 'https://rgw.example:8443', pathStyle: true },
    'https://rgw.example:8443/bucket/',
  ],
  'another server, by the host name': [
    { region: 'x', endpoint: 'http://rgw.example' },
    'http://bucket.rgw.example/',
  ],
  'another server, whose address is a number': [
    { region: 'x', endpoint: 'http://127.0.0.1:9000' },
    'http://127.0.0.1:9000/bucket/',
  ],
};
for (const [what, [options, url]] of Object.entries(urls)) {
  test(`openS3Service() finds ${what}`, async () => {
    const service = await openS3Service({ ...given, ...options });
    assert.equal(service.url.href, url);
    service.close();
  });
}

/** As on a machine that was not told of AWS. */
function withoutRegion(t: { after: (run: () => void) => void }): void {
  const before = { ...process.env };
  t.after(() => {
    process.env = before;
  });
  process.env['AWS_CONFIG_FILE'] = '/nonexistent';
  process.env['AWS_SHARED_CREDENTIALS_FILE'] = '/nonexistent';
  delete process.env['AWS_REGION'];
  delete process.env['AWS_DEFAULT_REGION'];
}

test('openS3Service() says that AWS needs a region', async (t) => {
  withoutRegion(t);
  await assert.rejects(openS3Service(given), {
    code: 'ERR_STORE_CONFIGURATION',
    message: /Region is missing; set "store\.region" or AWS_REGION/,
  });
});

test('openS3Service() takes us-east-1 elsewhere than at AWS, where regions are only a word', async (t) => {
  withoutRegion(t);
  const service = await openS3Service({ ...given, endpoint: 'http://127.0.0.1:9000' });
  assert.equal(service.place.region, 'us-east-1');
  service.close();
});
