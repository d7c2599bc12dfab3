/**
 * Images of registries, published for tenants who name them through the API. Only registries: what a tenant writes never
 * becomes a path of this machine, whatever it looks like.
 */

import { defined } from '../base/index.ts';
import type { ImagePublisher } from '../functions/index.ts';
import { parseReference, type RegistryReference } from '../oci/index.ts';
import { publishImage, type PublishDependencies } from '../publish/index.ts';

export interface RegistryImagesOptions {
  readonly publish: PublishDependencies;
  /** `HOST[:PORT]` of registries without TLS, besides those of this machine. */
  readonly plainHttpHosts: readonly string[];
  /** Whose logins at registries a tenant's images are fetched with. */
  readonly loginsOf: (tenant: string) => RegistryLogins;
}

/** `own`: those that this process's user has. */
export type RegistryLogins =
  | { readonly from: 'own' | 'nowhere' }
  /** Of docker's form. */
  | { readonly from: 'file'; readonly path: string };

const scheme = 'docker://';
/** localhost, 127.0.0.0/8 and ::1, with or without a port. */
const loopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/;

/** Publishing what the tenant wants from a registry, with what all of them publish with. */
export function registryImages(options: RegistryImagesOptions): ImagePublisher {
  const { publish } = options;
  return {
    isReference: (imageUri) => referenceIn(imageUri) !== undefined,
    publish: async ({ tenant, imageUri, signal }) => {
      const name = withoutScheme(imageUri);
      const { host } = parseReference(scheme + name) as RegistryReference;
      const plainHttp = loopback.test(host) || options.plainHttpHosts.includes(host);
      const logins = options.loginsOf(tenant);
      const published = await publishImage(publish, {
        source: scheme + name,
        tenant,
        registry: defined({ plainHttp, dockerConfigPath: loginsPath(logins) }),
        signal,
      });
      return published.image;
    },
  };
}

/** A file that is not there has no logins. */
function loginsPath(logins: RegistryLogins): string | undefined {
  switch (logins.from) {
    case 'own':
      return undefined;
    case 'nowhere':
      return '/nonexistent/config.json';
    case 'file':
      return logins.path;
  }
}

function withoutScheme(imageUri: string): string {
  return imageUri.startsWith(scheme) ? imageUri.slice(scheme.length) : imageUri;
}

/** Undefined for what names no registry: a name alone is that of a published image. */
function referenceIn(imageUri: string): RegistryReference | undefined {
  const name = withoutScheme(imageUri);
  try {
    const reference = parseReference(scheme + name);
    if (reference.transport !== 'docker') return undefined;
    const isHosted = imageUri.startsWith(scheme) || name.startsWith(`${reference.host}/`);
    return isHosted ? reference : undefined;
  } catch {
    return undefined;
  }
}
