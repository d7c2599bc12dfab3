/** How `thaw image files` shows a file: a line as of `ls -l` for people, the exact bytes for programs. */

import {
  byteString,
  byteStringToBytes,
  byteStringToDisplay,
  byteStringToPrintable,
  viewOf,
  type ByteString,
} from '../base/index.ts';
import type { ImageFile } from '../publish/index.ts';

const typeLetters: Readonly<Record<ImageFile['type'], string>> = {
  file: '-',
  directory: 'd',
  symlink: 'l',
  'character-device': 'c',
  'block-device': 'b',
  fifo: 'p',
  socket: 's',
};

/** `-rwxr-xr-x 1 0/0 1234 2024-01-02T03:04:05Z /bin/sh`, with a newline; names as `byteStringToPrintable`. */
export function formatImageFile(file: ImageFile): string {
  const { device, target } = file;
  const size = device === undefined ? String(file.sizeBytes) : `${device.major},${device.minor}`;
  const owner = `${file.uid}/${file.gid}`;
  const time = `${isoSeconds(file.modified.seconds)}Z`;
  const link = target === undefined ? '' : ` -> ${byteStringToPrintable(target)}`;
  return `${formatMode(file)} ${String(file.linkCount).padStart(3)} ${owner.padEnd(9)} ${size.padStart(10)} ${time} /${byteStringToPrintable(file.path)}${link}\n`;
}

function formatMode({ type, mode }: ImageFile): string {
  const special = ['S', 'S', 'T'];
  const triples = [6, 3, 0].map((shift, index) => {
    const isSpecial = (mode & (0o4000 >> index)) !== 0;
    const canRun = (mode & (0o1 << shift)) !== 0;
    const letter = special[index] ?? '';
    const last = isSpecial ? (canRun ? letter.toLowerCase() : letter) : canRun ? 'x' : '-';
    const read = (mode & (0o4 << shift)) === 0 ? '-' : 'r';
    const write = (mode & (0o2 << shift)) === 0 ? '-' : 'w';
    return `${read}${write}${last}`;
  });
  return `${typeLetters[type]}${triples.join('')}`;
}

function isoSeconds(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 'yyyy-mm-ddThh:mm:ss'.length);
}

/** The documented, stable shape of a line of `image files --json`. */
export function imageFileJson(file: ImageFile): object {
  const { path, target, device, mode, modified, ...plain } = file;
  const fraction = String(modified.nanoseconds).padStart(9, '0');
  return {
    ...bytesAsText('path', `/${path}` as ByteString),
    ...plain,
    mode: mode.toString(8).padStart(4, '0'),
    modified: `${isoSeconds(modified.seconds)}.${fraction}Z`,
    ...(target === undefined ? {} : bytesAsText('target', target)),
    ...(device === undefined ? {} : { device }),
  };
}

/** As text; where the bytes are no UTF-8, which JSON cannot hold, also in base64. */
function bytesAsText(key: string, bytes: ByteString): object {
  const text = byteStringToDisplay(bytes);
  if (byteString(text) === bytes) return { [key]: text };
  return { [key]: text, [`${key}Base64`]: viewOf(byteStringToBytes(bytes)).toString('base64') };
}
