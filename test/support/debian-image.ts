/**
 * A real image in real layers, made as a Dockerfile would make it: Debian, Python installed by apt (which rewrites
 * dpkg's files) with caches and manuals deleted again (whiteouts), and a function. mmdebstrap and
 * apt make the contents, umoci the layers: nothing of ours takes part.
 *
 * Made once per machine and day of packages, in about a minute; needs root and a Debian archive.
 */

import { createHash } from 'node:crypto';
import { access, cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { runCommand } from '../../src/base/index.ts';
import { needsPrograms } from './programs.ts';

/** For a test's `skip`. */
export const debianImageMissing =
  process.getuid?.() === 0 ? needsPrograms('mmdebstrap', 'umoci', 'chroot') : 'needs root';

/** Tag of the image in its layout. */
export const debianImageTag = 'debian';

const sourcesPath = '/etc/apt/sources.list.d/debian.sources';
const aptConfigDir = '/etc/apt/apt.conf.d';
const suite = 'bookworm';
const timeoutMs = 900_000; // half a minute on a machine that does nothing else

/**
 * A program that speaks the Lambda Runtime API by itself: answers with the event, what Python it is and whether `/`
 * can be written.
 */
const program = `#!/usr/bin/python3
import json, os, platform, sys, urllib.request
base = 'http://' + os.environ['AWS_LAMBDA_RUNTIME_API'] + '/2018-06-01/runtime/invocation/'
def writable(path):
    try:
        open(path, 'w').close()
        return True
    except OSError:
        return False
while True:
    with urllib.request.urlopen(base + 'next') as event:
        request_id = event.headers['Lambda-Runtime-Aws-Request-Id']
        body = json.loads(event.read())
    print('handling', request_id, flush=True)
    answer = {'event': body, 'python': platform.python_version(), 'args': sys.argv[1:],
              'root': writable('/probe'), 'tmp': writable('/tmp/probe')}
    urllib.request.urlopen(urllib.request.Request(
        base + request_id + '/response', json.dumps(answer).encode(), method='POST')).read()
`;

/** The directory of an OCI layout with the image under `debianImageTag`. Not to be changed by tests. */
export async function debianImageLayout(): Promise<string> {
  const made = join(tmpdir(), `thaw-debian-image-${await recipeDigest()}`);
  const isMade = await access(join(made, 'index.json')).then(
    () => true,
    () => false,
  );
  if (isMade) return made;
  const work = await mkdtemp(join(tmpdir(), 'thaw-debian-making-'));
  try {
    await makeLayers(work);
    await rename(join(work, 'layout'), made).catch(() => access(made)); // another test made it meanwhile
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return made;
}

async function recipeDigest(): Promise<string> {
  const parts = [await readFile(import.meta.filename), await readFile(sourcesPath)];
  const today = new Date().toISOString().slice(0, 10);
  return createHash('sha256').update(Buffer.concat(parts)).update(today).digest('hex').slice(0, 16);
}

async function makeLayers(work: string): Promise<void> {
  const layout = join(work, 'layout');
  const image = `${layout}:${debianImageTag}`;
  await runCommand('umoci', ['init', '--layout', layout]);
  await runCommand('umoci', ['new', '--image', image]);
  await addLayer(work, image, 'base', debian);
  await addLayer(work, image, 'python', installPython);
  await addLayer(work, image, 'app', addProgram);
  const config = ['--config.entrypoint=/app/main.py', '--config.cmd=--from-image'];
  await runCommand('umoci', ['config', '--image', image, ...config, '--config.workingdir=/app']);
}

/** Unpacks the image as it is, lets `change` work on the files, and adds what changed as a layer. */
async function addLayer(
  work: string,
  image: string,
  name: string,
  change: (rootfs: string) => Promise<void>,
): Promise<void> {
  const bundle = join(work, name);
  await runCommand('umoci', ['unpack', '--image', image, bundle], { timeoutMs });
  await change(join(bundle, 'rootfs'));
  await runCommand('umoci', ['repack', '--image', image, bundle], { timeoutMs });
  await rm(bundle, { recursive: true, force: true });
}

async function debian(rootfs: string): Promise<void> {
  const sources = await readFile(sourcesPath, 'utf8');
  await runCommand('mmdebstrap', ['--variant=apt', '--mode=root', suite, rootfs, '-'], {
    input: sources.replaceAll(/^#.*\n/gm, ''),
    timeoutMs,
  });
}

async function installPython(rootfs: string): Promise<void> {
  await cp(aptConfigDir, join(rootfs, aptConfigDir), { recursive: true });
  await cp('/etc/resolv.conf', join(rootfs, 'etc/resolv.conf'));
  const script = [
    'apt-get -q update',
    'apt-get -q install --yes --no-install-recommends python3',
    'apt-get clean',
    'rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* /var/cache/*',
    'ln /etc/debian_version /etc/debian_version.again',
  ];
  await runCommand('chroot', [rootfs, '/bin/sh', '-ec', script.join('\n')], {
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', DEBIAN_FRONTEND: 'noninteractive' },
    timeoutMs,
  });
}

async function addProgram(rootfs: string): Promise<void> {
  await mkdir(join(rootfs, 'app'));
  await writeFile(join(rootfs, 'app/main.py'), program, { mode: 0o755 });
}
