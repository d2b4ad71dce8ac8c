import { describe, expect, it } from 'vitest';
import { Errno } from '../../../../../devices/errno.js';
import { decodeName, decodeTarget, encodeText } from '../../../../../devices/9p/fs/node-fs/names.js';

describe('names', () => {
  it('are UTF-8 in both directions', () => {
    for (const name of ['plain', 'ä', '日本語', '🙂', '\ufeffbom', ' ', '...', '..a']) {
      const bytes = Buffer.from(name).toString('latin1');
      expect(encodeText(name)).toBe(bytes);
      expect(decodeName(bytes)).toBe(name);
    }
  });

  it('that are no UTF-8, or overlong, or halves of surrogates, are EINVAL', () => {
    for (const bytes of [
      '\xff',
      '\xc3',
      'a\x80',
      '\xc0\xae\xc0\xae',
      '\xc0\xaf',
      '\xed\xa0\x80',
      '\xf5\x80\x80\x80',
    ]) {
      expect(decodeName(bytes)).toBe(-Errno.EINVAL);
      expect(decodeTarget(bytes)).toBe(-Errno.EINVAL);
    }
  });

  it('that lead elsewhere are refused', () => {
    for (const name of ['.', '..', 'a/b', '/', 'a\0']) expect(decodeName(name)).toBe(-Errno.EINVAL);
    expect(decodeName('')).toBe(-Errno.ENOENT);
    expect(decodeName('n'.repeat(256))).toBe(-Errno.ENAMETOOLONG);
  });
});
