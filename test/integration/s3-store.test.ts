/** Images in a bucket of a real S3 server, by the command line: published, checked, read, mounted, removed. */

import assert from 'node:assert/strict';
import { access, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';

import {
  CreateBucketCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';

import { exitStatuses } from '../../src/cli/exit-status.ts';
import { loadConfig } from '../../src/cli/config.ts';
import { openStore } from '../../src/cli/open-store.ts';
import { missingHere } from '../../src/device/testing/worker-fixture.ts';
import { objectStoreConformance } from '../../src/store/testing/object-store-conformance.ts';
import {
  radosgwMissing,
  radosgwRegion,
  sharedRadosgw,
  type Radosgw,
} from '../../src/store/testing/radosgw.ts';
import { writeOciLayout } from '../support/oci-layout.ts';
import { buildTar } from '../support/tar-builder.ts';
import { Thaw } from '../support/thaw.ts';

const bucket = 'images';
const content = Buffer.alloc(3_000_000, 'read from afar;');

interface Converted {
  readonly manifestId: string;
  readonly chunks: { readonly unique: number; readonly reused: number };
}

interface Diagnosis {
  readonly canPublish: boolean;
  readonly findings: readonly {
    readonly name: string;
    readonly health: string;
    readonly detail: string;
  }[];
}

const radosgw = sharedRadosgw();

suite('images in a bucket', { skip: radosgwMissing }, () => {
  let work = '';
  let server: Radosgw;
  let client: S3Client;
  let thaw = new Thaw('');
  let source = '';

  /** Commands' first arguments: the configuration with these settings of the store. */
  const withStore = async (settings: Readonly<Record<string, string>>): Promise<string[]> => {
    const lines = Object.entries(settings).map(([key, value]) => `${key} = "${value}"`);
    const file = join(work, `${crypto.randomUUID()}.toml`);
    await writeFile(file, ['[store]', ...lines].join('\n'));
    return ['--config', file];
  };
  const keys = async (): Promise<readonly string[]> => {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
    return Contents.map(({ Key = '' }) => Key);
  };
  let stored: string[] = [];

  before(async () => {
    server = await radosgw();
    work = await mkdtemp(join(tmpdir(), 'thaw-s3-test-'));
    thaw = new Thaw(join(work, 'state'));
    const { endpoint, secureEndpoint, credentials, certificate } = server;
    client = new S3Client({ endpoint, region: radosgwRegion, forcePathStyle: true, credentials });
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
    const profile = ['[default]', `aws_access_key_id = ${credentials.accessKeyId}`];
    profile.push(`aws_secret_access_key = ${credentials.secretAccessKey}`);
    await writeFile(join(work, 'credentials'), profile.join('\n'));
    // As the commands that are started here find it.
    process.env['AWS_SHARED_CREDENTIALS_FILE'] = join(work, 'credentials');
    process.env['AWS_EC2_METADATA_DISABLED'] = 'true';
    const layout = join(work, 'layout');
    await mkdir(layout);
    const tar = buildTar([{ path: 'file', content }]);
    await writeOciLayout(layout, { layers: [{ tar }], tag: 'x' });
    source = `oci:${layout}:x`;
    stored = await withStore({
      url: `s3://${bucket}/some/prefix`,
      endpoint: secureEndpoint,
      ca_file: certificate.certificatePath,
    });
  });
  after(async () => {
    client.destroy();
    await rm(work, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 });
  });

  objectStoreConformance({
    name: 'the bucket that commands open',
    create: async () => {
      const { endpoint } = server;
      const url = `s3://${bucket}/tests/${crypto.randomUUID()}`;
      const [, configPath = ''] = await withStore({ url, endpoint, region: radosgwRegion });
      const store = await openStore(await loadConfig({ configPath }, {}));
      return { store, [Symbol.asyncDispose]: async () => {} };
    },
  });

  test('an image is published into the bucket alone, found whole, and read from it', async () => {
    const image = await thaw.json<Converted>(...stored, 'image', 'convert', source, '--name', 'x');
    const names = (await keys()).filter((key) => key !== 'some/prefix/@put-if-absent');
    const chunks = names.filter((key) => /^some\/prefix\/[^/]+\/chunks\/[0-9a-f]{64}$/.test(key));
    assert.equal(chunks.length, image.chunks.unique);
    assert.ok(names.some((key) => key.endsWith(`/manifests/${image.manifestId}`)));
    await assert.rejects(access(join(thaw.root, 'store')), { code: 'ENOENT' });
    await thaw.json(...stored, 'image', 'check', 'x');
    const { stdout } = await thaw.run(...stored, 'image', 'cat', 'x', '/file');
    assert.ok(content.equals(Buffer.from(stdout)));
  });

  test('an image is read from the bucket through a mount', { skip: missingHere() }, async () => {
    const mounted = join(work, 'mounted');
    await mkdir(mounted);
    await thaw.json(...stored, 'image', 'mount', 'x', mounted);
    try {
      assert.ok(content.equals(await readFile(join(mounted, 'file'))));
    } finally {
      assert.equal((await thaw.run(...stored, 'image', 'umount', mounted)).status, 0);
    }
  });

  test('thaw doctor shows the bucket, reads it and tries a write', async () => {
    const diagnosis = await thaw.run(...stored, 'doctor', '--json');
    const { findings } = JSON.parse(diagnosis.stdout) as Diagnosis;
    const store = findings.find(({ name }) => name === 'store');
    assert.deepEqual([store?.health, store?.detail], ['ok', `s3://${bucket}/some/prefix`]);
  });

  const wrong: Readonly<
    Record<string, readonly [Readonly<Record<string, string>>, status: number, says: RegExp]>
  > = {
    'a bucket that is not there': [
      { url: 's3://no-such-bucket' },
      exitStatuses.usage.status,
      /NoSuchBucket.*make the bucket "no-such-bucket"/,
    ],
    'a server that is not there': [
      { url: `s3://${bucket}`, endpoint: 'http://127.0.0.1:1' },
      exitStatuses.unreachable.status,
      /no answer from http:\/\/127\.0\.0\.1:1/,
    ],
    'an authority that is no file': [
      { url: `s3://${bucket}`, ca_file: '/nonexistent.pem' },
      exitStatuses.usage.status,
      /"store\.ca_file".*ENOENT/,
    ],
    'a URL of no bucket': [
      { url: 's3://Bucket/x' },
      exitStatuses.usage.status,
      /write s3:\/\/BUCKET/,
    ],
  };
  for (const [what, [settings, status, says]] of Object.entries(wrong)) {
    test(`${what} is told of by doctor and by publishing, and what to do`, async () => {
      const config = await withStore({ endpoint: server.endpoint, ...settings });
      const doctor = await thaw.run(...config, 'doctor', '--json');
      const { findings, canPublish } = JSON.parse(doctor.stdout) as Diagnosis;
      const store = findings.find(({ name }) => name === 'store');
      assert.deepEqual([store?.health, canPublish], ['missing', false]);
      assert.match(store?.detail ?? '', says);
      const other = new Thaw(join(work, 'other-state'));
      const convert = await other.run(...config, 'image', 'convert', source);
      assert.equal(convert.status, status, convert.stderr);
      assert.match(convert.stderr, says);
    });
  }

  test('a chunk that is gone from the bucket is found missing', async () => {
    const key = (await keys()).find((name) => name.includes('/chunks/'));
    await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
    const { status, stderr } = await thaw.run(...stored, 'image', 'check', 'x');
    assert.equal(status, exitStatuses.badImage.status, stderr);
  });

  test('publishing again after it is lost stores it again', async () => {
    const before = await keys();
    await thaw.json(...stored, 'image', 'rm', 'x');
    assert.equal((await keys()).length, before.length - 1); // its manifest
    const image = await thaw.json<Converted>(...stored, 'image', 'convert', source, '--name', 'x');
    assert.ok(image.chunks.reused > 0);
    await thaw.json(...stored, 'image', 'check', 'x');
  });
});
