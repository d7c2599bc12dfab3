/** Absolute paths as a sandbox has them. */

/** True if `path` is `directory` or below it; both are absolute, without `.` and `..`. */
export function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);
}
