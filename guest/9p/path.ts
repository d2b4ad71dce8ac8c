/** Paths as their names. Names are bytes; text is sent in UTF-8. */
import { GuestError } from '../errors.js';
import { toBytes, type Bytes } from './cursor.js';

const SLASH = 0x2f;
const DOT = 0x2e;

/** The name that goes up. Other spellings of it are turned into this one, so that it can be compared. */
export const PARENT = '..';

const decoder = new TextDecoder();

/** For people: bytes that are no UTF-8 become replacement characters. */
export function toText(value: Bytes): string {
  return typeof value === 'string' ? value : decoder.decode(value);
}

/** The names of a path, without empty ones and '.'. An empty path is ENOENT; one with a NUL is EINVAL, as it names nothing. */
export function splitPath(path: Bytes): Bytes[] {
  const bytes = toBytes(path);
  if (bytes.byteLength === 0) throw new GuestError('ENOENT', { syscall: 'walk', path: '' });
  if (bytes.includes(0)) throw new GuestError('EINVAL', { syscall: 'walk', path: toText(path) });
  const names: Bytes[] = [];
  let start = 0;
  for (let at = 0; at <= bytes.byteLength; at++) {
    if (at < bytes.byteLength && bytes[at] !== SLASH) continue;
    const name = bytes.subarray(start, at);
    start = at + 1;
    if (name.byteLength === 0 || (name.byteLength === 1 && name[0] === DOT)) continue;
    names.push(name.byteLength === 2 && name[0] === DOT && name[1] === DOT ? PARENT : name);
  }
  return names;
}

/** True where a path starts at the root. */
export function isAbsolute(path: Uint8Array): boolean {
  return path[0] === SLASH;
}
