/** Paths of bytes as text, and back. */
import type { ByteString } from '../../devices/9p/fs/file-system.js';
import { ChassisError } from '../control/api.js';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What is no UTF-8 has its bytes beyond ASCII as `\xNN`. Control characters stay: whoever shows it to people sees to them. */
export function textOfPath(path: ByteString): string {
  try {
    return decoder.decode(Uint8Array.from(path, (character) => character.charCodeAt(0)));
  } catch {
    return path.replace(/[\x80-\xff]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16)}`);
  }
}

/** A path within a mount, from '/' on, and without one at its end; '/' is all of it. @throws ChassisError BAD_REQUEST */
export function bytesOfPath(text: string): ByteString {
  const names = text.split('/').filter((name) => name !== '' && name !== '.');
  if (names.includes('..') || text.includes('\0')) {
    throw new ChassisError(
      'BAD_REQUEST',
      `${JSON.stringify(text)} is no path within the mount`,
      'give paths as chassis diff lists them',
    );
  }
  return Buffer.from(`/${names.join('/')}`).toString('latin1');
}
