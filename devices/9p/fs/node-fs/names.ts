/** Names between the guest's bytes and the object's strings: UTF-8, and nothing that is more than a name. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { ByteString } from '../file-system.js';

export const NAME_MAX_BYTES = 255;
/** PATH_MAX without its NUL. */
const PATH_MAX_BYTES = 4095;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** A directory entry's name: -EINVAL for bytes that are no UTF-8, and for '/', NUL, '.' and '..', which would lead elsewhere. */
export function decodeName(name: ByteString): string | Failure {
  if (name.length > NAME_MAX_BYTES) return -Errno.ENAMETOOLONG;
  if (name === '') return -Errno.ENOENT;
  const decoded = decode(name);
  return isFailure(decoded) || isEntryName(decoded) ? decoded : -Errno.EINVAL;
}

/** A symbolic link's target. */
export function decodeTarget(target: ByteString): string | Failure {
  if (target.length > PATH_MAX_BYTES) return -Errno.ENAMETOOLONG;
  if (target === '') return -Errno.ENOENT;
  return target.includes('\0') ? -Errno.EINVAL : decode(target);
}

/** The object's names and targets as bytes. */
export function encodeText(text: string): ByteString {
  if (isAscii(text)) return text;
  let bytes = '';
  for (const byte of encoder.encode(text)) bytes += String.fromCharCode(byte);
  return bytes;
}

/** Whether a string that the object lists can be the name of one entry. */
export function isEntryName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !name.includes('/') && !name.includes('\0');
}

function decode(bytes: ByteString): string | Failure {
  if (isAscii(bytes)) return bytes;
  try {
    return decoder.decode(Uint8Array.from(bytes, (character) => character.charCodeAt(0)));
  } catch {
    return -Errno.EINVAL;
  }
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) >= 0x80) return false;
  return true;
}
