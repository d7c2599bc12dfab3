/**
 * What an archive may be. Source: AWS Lambda developer guide, "Lambda quotas": "250 MB unzipped". The 50 MB of a zip file "when
 * uploaded through the Lambda API" are a limit of that API's requests; what comes another way may be larger, as what Lambda fetches
 * from S3. How many files there may be, and how deep they lie, Lambda does not say.
 */

export const unpackedMaxBytes = 250 * 2 ** 20;
/** What is packed to no use is no larger than this. */
export const zipSizeMaxBytes = unpackedMaxBytes;
/** Files, links and directories, named or implied. Each takes a block of the worker's disk, however small it is. */
export const entriesMax = 100_000;
/** Of a path in the archive; Linux takes 4,095, of which the place where it is unpacked has a part. */
export const pathMaxBytes = 3_500;
/** Source: limits.h, NAME_MAX. */
export const namePartMaxBytes = 255;
/** Source: path_resolution(7). */
export const linksFollowedMax = 40;
