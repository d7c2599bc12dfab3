import { randomUUID } from 'node:crypto';
import { suite } from 'node:test';

import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';

import { openS3Store, type S3Store, type S3StoreOptions } from './s3-store.ts';
import { objectStoreConformance } from './testing/object-store-conformance.ts';
import { radosgwMissing, radosgwRegion, sharedRadosgw, type Radosgw } from './testing/radosgw.ts';
import { withLimit } from './with-limit.ts';
import { withRetry } from './with-retry.ts';

const radosgw = sharedRadosgw();
const bucket = 'thaw.objects'; // a dot, as old buckets have it
let bucketMade: Promise<void> | undefined;

function sdkClient({ endpoint, credentials }: Radosgw): S3Client {
  return new S3Client({ endpoint, region: radosgwRegion, forcePathStyle: true, credentials });
}

/** The bucket of the server of these tests, made by the first who asks. */
async function serverWithBucket(): Promise<Radosgw> {
  const server = await radosgw();
  bucketMade ??= (async () => {
    const client = sdkClient(server);
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
    client.destroy();
  })();
  await bucketMade;
  return server;
}

/** A store of no objects, in a prefix of its own. */
async function openEmptyStore(options: Partial<S3StoreOptions> = {}): Promise<S3Store> {
  const { endpoint, credentials } = await serverWithBucket();
  return await openS3Store({
    bucket,
    prefix: `tests/${randomUUID()}`,
    endpoint,
    credentials: async () => credentials,
    ...options,
  });
}

suite('on Ceph', { skip: radosgwMissing }, () => {
  objectStoreConformance({
    name: 'S3',
    create: async () => {
      const store = await openEmptyStore();
      return { store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
    },
  });

  objectStoreConformance({
    name: 'S3 over TLS with retries and a limit',
    create: async () => {
      const { secureEndpoint: endpoint, certificate } = await serverWithBucket();
      const inner = await openEmptyStore({ endpoint, ca: certificate.certificate });
      const store = withLimit(withRetry(inner, { random: () => 0.5 }), 4);
      return { store, [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose]() };
    },
  });
});
