/** Lists of extended attributes' names, as listxattr(2) gives them: each is followed by NUL. */
import type { ByteString } from './file-system.js';

export function namesIn(list: Uint8Array): ByteString[] {
  let text = '';
  for (const byte of list) text += String.fromCharCode(byte);
  return text === '' ? [] : text.slice(0, -1).split('\0');
}

export function joinNames(names: readonly ByteString[]): Uint8Array {
  const text = names.map((name) => `${name}\0`).join('');
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
