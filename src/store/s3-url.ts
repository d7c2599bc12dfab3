/** Where an S3 store lies: `s3://BUCKET[/PREFIX]`. */

import { StoreConfigurationError } from './errors.ts';
import { isObjectName } from './object-names.ts';

export interface S3Location {
  readonly bucket: string;
  /** Without a slash at its ends; empty where the store is the whole bucket. */
  readonly prefix: string;
}

/** As far as it keeps names out of other parts of a URL. Source: Amazon S3 User Guide, "Bucket naming rules". */
const bucketName = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

/** Room for the objects' own names: S3 takes keys of 1,024 bytes. */
const prefixLengthMax = 400;

/**
 * Reads `s3://BUCKET` or `s3://BUCKET/PREFIX`; slashes at the end do not count. A prefix has the characters and parts of
 * an object's name. Throws `ERR_STORE_CONFIGURATION`.
 */
export function parseS3Url(url: string): S3Location {
  const found = /^s3:\/\/([^/]*)(?:\/(.*?))?\/*$/s.exec(url);
  const bucket = found?.[1] ?? '';
  const prefix = found?.[2] ?? '';
  const problem = problemOf(found !== null, bucket, prefix);
  if (problem === undefined) return { bucket, prefix };
  throw new StoreConfigurationError(
    'use the store of "store.url"', // which is not repeated: some write credentials into it
    problem,
    'write s3://BUCKET or s3://BUCKET/PREFIX',
  );
}

function problemOf(isS3: boolean, bucket: string, prefix: string): string | undefined {
  if (!isS3) return 'it is no s3:// URL';
  if (!bucketName.test(bucket) || bucket.includes('..')) {
    return "a bucket's name is 3 to 63 of a-z 0-9 . -";
  }
  if (bucket.endsWith('--x-s3')) {
    return 'directory buckets list their objects in no order, and Thaw needs one';
  }
  if (prefix.length > prefixLengthMax) return `the prefix is over ${prefixLengthMax} characters`;
  if (prefix === '' || isObjectName(prefix)) return undefined;
  return 'the prefix has only parts of "a-z A-Z 0-9 . _ -", none of them empty, "." or ".."';
}
