/**
 * Image references: where an image is and which one is meant. The text forms are those of skopeo; names in
 * registries follow the distribution project's grammar (distribution-spec, spec.md, "Pulling manifests").
 */

import { isDigest } from './digest.ts';
import { OciReferenceError } from './errors.ts';

export type ImageReference = LayoutReference | DockerArchiveReference | RegistryReference;

/** An OCI image layout: a directory, or a tar file of one. */
export interface LayoutReference {
  readonly transport: 'oci' | 'oci-archive';
  readonly path: string;
  /** The annotation `org.opencontainers.image.ref.name` in `index.json`. */
  readonly tag?: string;
}

/** A tar file as `docker save` writes it. */
export interface DockerArchiveReference {
  readonly transport: 'docker-archive';
  readonly path: string;
  /** Which of several images: `HOST/NAME:TAG` in full. */
  readonly name?: string;
}

/** An image in a registry. With neither a tag nor a digest the tag is `latest`. */
export interface RegistryReference {
  readonly transport: 'docker';
  /** `HOST[:PORT]`, as users write it: `docker.io` stands for Docker Hub. */
  readonly host: string;
  readonly repository: string;
  readonly tag?: string;
  /** Decides where both are there. */
  readonly digest?: string;
}

const referenceLengthMax = 8192;
const repositoryLengthMax = 255;
const hubHost = 'docker.io';

const hostLabel = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;
const ipv6Host = /^\[[0-9a-f:.]{2,45}\]$/i;
const pathComponent = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;
const tagForm = /^\w[\w.-]{0,127}$/;
// oxlint-disable-next-line no-control-regex -- control characters are what this looks for
const controlCharacter = /[\u0000-\u001f\u007f]/;

/** The text with anything that may be a password in it left out. */
function shown(text: string): string {
  const printable = text.replaceAll(/[^\u0020-\u007e]/g, '?');
  const redacted = printable.replace(/^([\w-]*:(?:\/\/)?)?.*@(?!sha\d+:)/, '$1***@');
  return redacted.length > 200 ? `${redacted.slice(0, 200)}…` : redacted;
}

function isHost(text: string): boolean {
  const match = /^(.*?)(?::(\d{1,5}))?$/.exec(text);
  const name = match?.[1] ?? '';
  const port = match?.[2];
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535)) return false;
  return ipv6Host.test(name) || name.split('.').every((label) => hostLabel.test(label));
}

/** Whether the first component of a name is a host rather than a part of a Docker Hub name. */
function looksLikeHost(component: string): boolean {
  return /[.:[\]A-Z]/.test(component) || component === 'localhost';
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}

type Refuse = (why: string) => OciReferenceError;

function parsePathAndTag(rest: string, refuse: Refuse): { path: string; tag?: string } {
  const [path, tag] = splitOnce(rest, ':');
  if (path === '') throw refuse('the path is empty');
  if (tag === '') throw refuse('the tag is empty');
  return tag === undefined ? { path } : { path, tag };
}

function parseName(name: string, refuse: Refuse): Omit<RegistryReference, 'transport'> {
  const [beforeDigest, digest] = splitOnce(name, '@');
  if (digest !== undefined && !isDigest(digest)) {
    throw refuse('what follows "@" is not a sha256 or sha512 digest');
  }
  const [first, others] = splitOnce(beforeDigest, '/');
  const hosted = others !== undefined && looksLikeHost(first);
  const host = hosted ? first : hubHost;
  if (!isHost(host)) throw refuse(`"${first}" is not a host name`);
  const [path, tag] = splitOnce(hosted ? others : beforeDigest, ':');
  if (tag !== undefined && !tagForm.test(tag)) {
    throw refuse('a tag has at most 128 letters, digits, "_", "." and "-"');
  }
  const repository = host === hubHost && !path.includes('/') ? `library/${path}` : path;
  if (
    repository.length > repositoryLengthMax ||
    !repository.split('/').every((component) => pathComponent.test(component))
  ) {
    throw refuse('a name has lowercase letters, digits and single separators, at most 255 in all');
  }
  return {
    host,
    repository,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

function parseRegistry(rest: string, refuse: Refuse): RegistryReference {
  if (!rest.startsWith('//')) throw refuse('"docker:" is followed by "//"');
  const name = rest.slice(2);
  if (name.includes('@') && name.lastIndexOf('/') > name.indexOf('@')) {
    throw refuse('credentials do not belong in it, pass them apart');
  }
  return { transport: 'docker', ...parseName(name, refuse) };
}

/** A name in an archive in full: `debian` is `docker.io/library/debian:latest`. Throws `ERR_OCI_BAD_REFERENCE`. */
export function normaliseImageName(name: string): string {
  const parsed = parseName(name, (why) => new OciReferenceError(shown(name), why));
  return formatName({ ...parsed, transport: 'docker' });
}

/**
 * Parses `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME:TAG]` or
 * `docker://[HOST[:PORT]/]NAME[:TAG][@DIGEST]`. A path ends at its first colon. Without a host the image is
 * Docker Hub's. Throws `ERR_OCI_BAD_REFERENCE`; the message never repeats a password put into the text.
 */
export function parseReference(text: string): ImageReference {
  const refuse: Refuse = (why) => new OciReferenceError(shown(text), why);
  if (text.length > referenceLengthMax) throw refuse('it is too long');
  if (controlCharacter.test(text)) throw refuse('it holds control characters');
  const [transport, rest] = splitOnce(text, ':');
  if (rest === undefined) throw refuse('it does not say what kind of source this is');
  switch (transport) {
    case 'oci':
    case 'oci-archive':
      return { transport, ...parsePathAndTag(rest, refuse) };
    case 'docker-archive': {
      const { path, tag } = parsePathAndTag(rest, refuse);
      if (tag === undefined) return { transport, path };
      if (tag.includes('@')) throw refuse('images in a docker-archive have no digests');
      return {
        transport,
        path,
        name: formatName({ transport: 'docker', ...parseName(tag, refuse) }),
      };
    }
    case 'docker':
      return parseRegistry(rest, refuse);
    default:
      throw refuse('it does not say what kind of source this is');
  }
}

function formatName(reference: RegistryReference): string {
  const { host, repository, tag, digest } = reference;
  const tagged = tag ?? (digest === undefined ? 'latest' : undefined);
  return (
    `${host}/${repository}` +
    (tagged === undefined ? '' : `:${tagged}`) +
    (digest === undefined ? '' : `@${digest}`)
  );
}

/** The canonical text: everything that a shorthand left out is in it. */
export function formatReference(reference: ImageReference): string {
  switch (reference.transport) {
    case 'oci':
    case 'oci-archive':
      return `${reference.transport}:${reference.path}${reference.tag === undefined ? '' : `:${reference.tag}`}`;
    case 'docker-archive':
      return `docker-archive:${reference.path}${reference.name === undefined ? '' : `:${reference.name}`}`;
    case 'docker':
      return `docker://${formatName(reference)}`;
  }
}
