import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, mkdtempDisposable, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import {
  startFaultProxy,
  type Fault,
  type FaultProxy,
  type ProxiedRequest,
} from '../../test/support/fault-proxy.ts';
import {
  writeOciLayout,
  writeOciLayoutIndex,
  type WrittenImage,
} from '../../test/support/oci-layout.ts';
import { registryMissing, startRegistry, type Registry } from '../../test/support/registry.ts';
import { buildTar } from '../../test/support/tar-builder.ts';
import { runCommand, systemClock } from '../base/index.ts';
import { openImage, parsePlatform, type OpenImageOptions, type Timing } from './index.ts';
import { parseRetryAfter } from './registry-source.ts';
import { readImage } from './testing/image-contents.ts';

/** Bytes that do not compress, the same every time. */
function noise(sizeBytes: number): Buffer {
  const blocks: Buffer[] = [];
  for (let at = 0; at * 32 < sizeBytes; at += 1) {
    blocks.push(createHash('sha256').update(`noise ${at}`).digest());
  }
  return Buffer.concat(blocks).subarray(0, sizeBytes);
}

const platform = parsePlatform('linux/amd64');
const bigTar = buildTar([{ path: 'big', content: noise(3_000_000) }]);
const smallTar = buildTar([{ path: 'small', content: 'small' }]);

/** Notes the waits instead of waiting. */
function instantTiming(): Timing & { readonly waits: number[] } {
  const waits: number[] = [];
  const sleep = async (delayMs: number) => void waits.push(delayMs);
  return { clock: systemClock, random: () => 0.5, sleep, waits };
}

/** Without the credentials that this machine's user may have. */
function optionsWith(extra: OpenImageOptions = {}): OpenImageOptions {
  const dockerConfigPath = '/nonexistent/config.json';
  return { platform, plainHttp: true, timing: instantTiming(), dockerConfigPath, ...extra };
}

describe('a real registry', { skip: registryMissing }, () => {
  let registry: Registry;
  let layouts: string;
  let image: WrittenImage;
  let multi: Awaited<ReturnType<typeof writeOciLayoutIndex>>;

  before(async () => {
    layouts = await mkdtemp(join(tmpdir(), 'thaw-oci-'));
    registry = await startRegistry();
    image = await writeOciLayout(`${layouts}/one`, {
      layers: [{ tar: bigTar }, { tar: smallTar, compression: 'zstd' }],
      platform,
      config: { Cmd: ['/big'] },
      tag: 'v1',
    });
    multi = await writeOciLayoutIndex(`${layouts}/multi`, {
      images: ['linux/amd64', 'linux/arm64/v8'].map((name) => ({
        layers: [{ tar: smallTar }],
        platform: parsePlatform(name),
      })),
      tag: 'v1',
    });
    await registry.push(`oci:${layouts}/one:v1`, 'team/one:v1');
    await registry.push(`oci:${layouts}/multi:v1`, 'multi:v1');
  });

  after(async () => {
    await registry.stop();
    await rm(layouts, { recursive: true, force: true });
  });

  test('gives the very image that its layout gives, by tag and by digest', async () => {
    const expected = await readImage(`oci:${layouts}/one:v1`, { platform });
    const { digest } = image.descriptor;
    for (const name of ['team/one:v1', `team/one@${digest}`, `team/one:gone@${digest}`]) {
      const contents = await readImage(`docker://${registry.host}/${name}`, optionsWith());
      assert.deepEqual(contents, expected, name);
    }
  });

  test('gives the image of the platform asked for', async () => {
    const reference = `docker://${registry.host}/multi:v1`;
    for (const [index, name] of ['linux/amd64', 'linux/arm64'].entries()) {
      const options = optionsWith({ platform: parsePlatform(name) });
      await using opened = await openImage(reference, options);
      assert.equal(opened.imageDigest, multi.images[index]?.descriptor.digest);
    }
    const missing = openImage(reference, optionsWith({ platform: parsePlatform('linux/s390x') }));
    const available = ['linux/amd64', 'linux/arm64/v8'];
    await assert.rejects(missing, { code: 'ERR_OCI_PLATFORM_MISSING', available });
  });

  test('gives an image that was pushed with Docker’s media types', async () => {
    const flags = ['--insecure-policy', '--dest-tls-verify=false', '--format', 'v2s2', '--quiet'];
    const platformFlags = ['--override-arch', 'amd64'];
    const to = `docker://${registry.host}/docker:v1`;
    await runCommand('skopeo', ['copy', ...flags, ...platformFlags, `oci:${layouts}/multi:v1`, to]);
    await using opened = await openImage(to, optionsWith());
    const [layer] = opened.layers;
    assert.equal(layer?.mediaType, 'application/vnd.docker.image.rootfs.diff.tar.gzip');
    assert.deepEqual((await readImage(to, optionsWith())).tars, [smallTar]);
  });

  test('has no such tag, digest or repository: ERR_OCI_NOT_FOUND', async () => {
    for (const name of ['team/one:no', 'team/none:v1', `multi@sha256:${'0'.repeat(64)}`]) {
      const opening = openImage(`docker://${registry.host}/${name}`, optionsWith());
      await assert.rejects(opening, { code: 'ERR_OCI_NOT_FOUND' }, name);
    }
  });

  test('proves access by answering HEAD of a blob, and only with what the manifest says', async () => {
    let spoil: Fault | undefined;
    await using proxy = await startFaultProxy(registry.host, ({ method }) =>
      method === 'HEAD' ? spoil : undefined,
    );
    await using opened = await openImage(`docker://${proxy.host}/team/one:v1`, optionsWith());
    const [layer] = opened.layers;
    assert.ok(layer);
    assert.equal(await opened.hasAccess(layer), true);
    for (const status of [401, 403, 404, 405, 429, 503]) {
      spoil = { kind: 'answer', status };
      assert.equal(await opened.hasAccess(layer), false, `${status}`);
    }
    const ends = { 'content-length': `${layer.sizeBytes + 1}` };
    spoil = { kind: 'answer', status: 200, headers: ends };
    assert.equal(await opened.hasAccess(layer), false);
    assert.ok(
      proxy.requests.every(({ method, path }) => method === 'HEAD' || !path.includes(layer.digest)),
    );
  });

  test('is not asked over plain HTTP unless that was allowed', async () => {
    const opening = openImage(
      `docker://${registry.host}/multi:v1`,
      optionsWith({ plainHttp: false }),
    );
    await assert.rejects(opening, {
      code: 'ERR_OCI_REGISTRY_UNREACHABLE',
      message: /--plain-http/,
    });
  });

  /** Reads all of an image through a proxy that spoils answers. */
  async function readThrough(
    faultFor: (request: ProxiedRequest, blobSerial: number) => Fault | undefined,
    extra: OpenImageOptions = {},
  ) {
    let blobs = 0;
    await using proxy: FaultProxy = await startFaultProxy(registry.host, (request) => {
      const isBig = request.path.includes(image.layers[0]?.digest ?? '');
      return faultFor(request, isBig ? blobs++ : -1);
    });
    const options = optionsWith(extra);
    const contents = await readImage(`docker://${proxy.host}/team/one:v1`, options);
    assert.deepEqual(contents.tars, [bigTar, smallTar]);
    const { waits } = options.timing as ReturnType<typeof instantTiming>;
    return { requests: proxy.requests, waits };
  }

  function rangesOf(requests: readonly ProxiedRequest[]): (string | undefined)[] {
    const big = requests.filter(({ path }) => path.includes(image.layers[0]?.digest ?? ''));
    return big.map(({ headers }) => headers.range);
  }

  test('a download that breaks off goes on where it was', async () => {
    const cuts = [1_000_000, 700_000, 500_000];
    const { requests, waits } = await readThrough((_, serial) => {
      const afterBytes = cuts[serial];
      return afterBytes === undefined ? undefined : { kind: 'cut', afterBytes };
    });
    const ranges = rangesOf(requests);
    assert.equal(ranges.length, 4);
    assert.equal(ranges[0], undefined);
    const starts = ranges.slice(1).map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1]));
    assert.deepEqual(
      starts,
      starts.toSorted((a, b) => a - b),
    );
    assert.ok((starts[0] ?? 0) > 0 && (starts[2] ?? 0) <= 2_200_000, `resumed at ${starts.join()}`);
    assert.equal(waits.length, 3);
  });

  test('a registry that ignores ranges is read past what is there already', async () => {
    const { requests } = await readThrough((_, serial) => {
      if (serial === 0) return { kind: 'cut', afterBytes: 1_500_000 };
      return serial === 1 ? { kind: 'ignore-range' } : undefined;
    });
    assert.equal(rangesOf(requests).length, 2);
  });

  test('a registry that answers with another range than asked for is not believed', async () => {
    const headers = { 'content-range': 'bytes 0-9/10' };
    const reading = readThrough((_, serial) => {
      if (serial === 0) return { kind: 'cut', afterBytes: 1_500_000 };
      return serial === 1 ? { kind: 'answer', status: 206, headers } : undefined;
    });
    await assert.rejects(reading, { code: 'ERR_OCI_REGISTRY_FAILED', message: /bytes 0-9\/10/ });
  });

  test('a body that ends early without an error is fetched to its end', async () => {
    await readThrough((_, serial) =>
      serial === 0 ? { kind: 'truncate', afterBytes: 123_456 } : undefined,
    );
  });

  test('a connection that stalls is given up and resumed', async () => {
    const stall: Fault = { kind: 'stall', afterBytes: 200_000 };
    const { requests } = await readThrough((_, serial) => (serial === 0 ? stall : undefined), {
      retry: { stallTimeoutMs: 1000 },
    });
    assert.equal(rangesOf(requests).length, 2);
  });

  test('503 and 429 are waited out, as long as Retry-After says', async () => {
    const answers: readonly Fault[] = [
      { kind: 'answer', status: 503 },
      { kind: 'answer', status: 429, headers: { 'retry-after': '7' } },
      { kind: 'answer', status: 502, headers: { 'retry-after': '0' } },
    ];
    const { waits } = await readThrough(({ serial }) => answers[serial]);
    assert.equal(waits.length, 3);
    assert.equal(waits[1], 7000);
  });

  test('a corrupt copy of a layer or document is fetched again', async () => {
    const seen = new Set<string>();
    await readThrough(({ path }) => {
      const isFirst = !seen.has(path);
      seen.add(path);
      return isFirst ? { kind: 'flip', atByte: 40 } : undefined;
    });
  });

  const headers = { 'content-length': '1' };
  const tiny: Fault = { kind: 'answer', status: 200, headers, body: 'x' };
  for (const [what, fault, code] of [
    ['is corrupt every time', { kind: 'flip', atByte: 5 }, 'ERR_OCI_DIGEST_MISMATCH'],
    ['is corrupt far inside', { kind: 'flip', atByte: 2_000_000 }, 'ERR_OCI_DIGEST_MISMATCH'],
    ['is longer than stated', { kind: 'append', bytes: Buffer.alloc(9) }, 'ERR_OCI_SIZE_MISMATCH'],
    ['is shorter than stated', tiny, 'ERR_OCI_SIZE_MISMATCH'],
    ['never comes further', { kind: 'cut', afterBytes: 0 }, 'ERR_OCI_REGISTRY_UNREACHABLE'],
    ['is gone', { kind: 'answer', status: 404 }, 'ERR_OCI_NOT_FOUND'],
    ['is forbidden', { kind: 'answer', status: 403 }, 'ERR_OCI_FORBIDDEN'],
    ['fails', { kind: 'answer', status: 500 }, 'ERR_OCI_REGISTRY_FAILED'],
    ['is refused as a bad request', { kind: 'answer', status: 400 }, 'ERR_OCI_REGISTRY_FAILED'],
    ['is rate-limited', { kind: 'answer', status: 429 }, 'ERR_OCI_RATE_LIMITED'],
    [
      'is rate-limited for hours',
      { kind: 'answer', status: 429, headers: { 'retry-after': '7200' } },
      'ERR_OCI_RATE_LIMITED',
    ],
    [
      'is somewhere else, in circles',
      { kind: 'answer', status: 307, headers: { location: '/v2/' } },
      'ERR_OCI_REGISTRY_FAILED',
    ],
  ] as const satisfies readonly (readonly [string, Fault, string])[]) {
    test(`a layer that ${what} ends in ${code}`, async () => {
      const redirected = what.includes('circles') ? '/v2/' : undefined;
      const reading = readThrough(({ path }, serial) =>
        serial >= 0 || path === redirected ? fault : undefined,
      );
      await assert.rejects(reading, { code });
    });
  }

  test('a manifest without an end is cut off at the limit', async () => {
    const append: Fault = { kind: 'append', bytes: Buffer.alloc(5_000_000, ' ') };
    const reading = readThrough(({ path }) => (path.includes('/manifests/') ? append : undefined));
    await assert.rejects(reading, { code: 'ERR_OCI_TOO_LARGE' });
  });

  test('random faults end in the right bytes or a coded error', async () => {
    const random = createHash('sha256').update('faults').digest();
    let at = 0;
    const next = () => random.readUInt8((at += 1) % 32) * 256 + random.readUInt8((at * 7) % 32);
    const outcomes = new Set<string>();
    for (let round = 0; round < 12; round += 1) {
      const reading = readThrough(({ serial }) => {
        const bytes = (next() * 47) % 3_000_000;
        const faults: readonly (Fault | undefined)[] = [
          { kind: 'cut', afterBytes: bytes },
          { kind: 'truncate', afterBytes: bytes },
          { kind: 'flip', atByte: bytes },
          { kind: 'answer', status: 503 },
          undefined,
        ];
        return serial % 2 === 0 ? undefined : faults[next() % faults.length];
      });
      outcomes.add(
        await reading.then(
          () => 'right',
          (thrown: unknown) => (thrown as { code: string }).code,
        ),
      );
    }
    for (const outcome of outcomes) assert.match(outcome, /^(right|ERR_OCI_\w+)$/);
    assert.ok(outcomes.has('right'));
  });

  test('ends at once when its image is disposed of or the signal is aborted', async () => {
    const stall: Fault = { kind: 'stall', afterBytes: 1000 };
    await using proxy = await startFaultProxy(registry.host, ({ path }) =>
      path.includes(image.layers[0]?.digest ?? '') ? stall : undefined,
    );
    const stop = new AbortController();
    const progress = () => stop.abort(new Error('stopped'));
    const options = optionsWith({ signal: stop.signal, progress });
    await using opened = await openImage(`docker://${proxy.host}/team/one:v1`, options);
    const [layer] = opened.layers;
    await assert.rejects(opened.openLayer(layer ?? assert.fail()), { message: 'stopped' });

    const patient = await openImage(`docker://${proxy.host}/team/one:v1`, {
      ...optionsWith(),
      progress: () => void patient[Symbol.asyncDispose](),
    });
    const opening = patient.openLayer(patient.layers[0] ?? assert.fail());
    await assert.rejects(opening, { name: 'AbortError' });
  });
});

test('openImage() says which registry cannot be reached', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'thaw-oci-'));
  const closed = await startFaultProxy('127.0.0.1:9', () => undefined);
  const { host } = closed;
  await closed[Symbol.asyncDispose]();
  const options = optionsWith({ workDir: dir.path });
  const refusal = { code: 'ERR_OCI_REGISTRY_UNREACHABLE', message: new RegExp(host) };
  await assert.rejects(openImage(`docker://${host}/a`, options), refusal);
  const timing = options.timing as ReturnType<typeof instantTiming>;
  assert.equal(timing.waits.length, 4);
});

test('parseRetryAfter() understands seconds and dates', () => {
  assert.equal(parseRetryAfter(null, 0), undefined);
  assert.equal(parseRetryAfter('120', 0), 120_000);
  assert.equal(parseRetryAfter('Thu, 01 Jan 1970 00:00:10 GMT', 4000), 6000);
  assert.equal(parseRetryAfter('Thu, 01 Jan 1970 00:00:10 GMT', 40_000), 0);
  assert.equal(parseRetryAfter('soon', 0), undefined);
});
