/** erasure: a chunk as five stripes, any four of which give it back. Bytes in, bytes out. */

export * from './stripes.ts';
