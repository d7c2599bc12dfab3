/**
 * Platforms: which one this machine is, and which of an index's images fits it best.
 * Source: OCI image-spec, image-index.md, "platform"; names are Go's GOOS and GOARCH.
 */

import { endianness } from 'node:os';

import { OciPlatformError } from './errors.ts';
import type { Platform } from './image-source.ts';

const platformPart = /^[a-z0-9][a-z0-9_.-]*$/i;

const architectureAliases: Readonly<Record<string, string>> = {
  x86_64: 'amd64',
  'x86-64': 'amd64',
  aarch64: 'arm64',
  i386: '386',
  i686: '386',
  armhf: 'arm',
};

/** What an absent variant means. */
const impliedVariants: Readonly<Record<string, string>> = { amd64: 'v1', arm64: 'v8', arm: 'v7' };

/** Node's names of architectures in Go's spelling. */
const goArchitectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  ppc64: endianness() === 'LE' ? 'ppc64le' : 'ppc64',
  mipsel: 'mipsle',
};

/** The platform whose programs this machine runs, e.g. `linux/amd64`, `linux/arm64/v8`. */
export function hostPlatform(): Platform {
  const architecture = goArchitectures[process.arch] ?? process.arch;
  const variant = architecture === 'amd64' ? undefined : impliedVariants[architecture];
  const os = process.platform === 'win32' ? 'windows' : process.platform;
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
}

/** Parses `os/architecture[/variant]`; `x86_64` and `aarch64` are understood. Throws `ERR_OCI_BAD_PLATFORM`. */
export function parsePlatform(text: string): Platform {
  const [os, architecture, variant, ...rest] = text.split('/');
  const parts = [os, architecture, variant].filter((part) => part !== undefined);
  if (
    os === undefined ||
    architecture === undefined ||
    rest.length > 0 ||
    !parts.every((part) => platformPart.test(part))
  ) {
    throw new OciPlatformError(text);
  }
  const lower = architecture.toLowerCase();
  return {
    os: os.toLowerCase(),
    architecture: Object.hasOwn(architectureAliases, lower)
      ? (architectureAliases[lower] ?? lower)
      : lower,
    ...(variant === undefined ? {} : { variant: variant.toLowerCase() }),
  };
}

/** The inverse of `parsePlatform`. */
export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = platform;
  return variant === undefined || variant === ''
    ? `${os}/${architecture}`
    : `${os}/${architecture}/${variant}`;
}

/** The number in `v8`, with `8` and an absent variant read as what they stand for. */
function variantLevel(platform: Platform): number | undefined {
  const variant = platform.variant ?? '';
  const known = variant === '' ? (impliedVariants[platform.architecture] ?? 'v0') : variant;
  const match = /^v?(\d{1,4})(?:\.\d{1,4})?$/.exec(known);
  return match === null ? undefined : Number(match[1]);
}

/**
 * How well an image for `offered` runs where `wanted` is asked for: 0 is the very platform, more is an older
 * variant of the same architecture, undefined does not run at all. A newer variant than wanted never fits.
 */
export function platformDistance(wanted: Platform, offered: Platform): number | undefined {
  if (wanted.os !== offered.os || wanted.architecture !== offered.architecture) return undefined;
  const wantedLevel = variantLevel(wanted);
  const offeredLevel = variantLevel(offered);
  if (wantedLevel === undefined || offeredLevel === undefined) {
    return wanted.variant === offered.variant ? 0 : undefined;
  }
  return offeredLevel <= wantedLevel ? wantedLevel - offeredLevel : undefined;
}
