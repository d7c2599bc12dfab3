/** archive: the code of zip functions: checked, sealed, stored, and unpacked for those who run it. */

export * from './code-archives.ts';
export * from './errors.ts';
export * from './local-code-archives.ts';
