import { describe, expect, it } from 'vitest';
import { PARENT, splitPath, toText } from '../../../guest/9p/path.js';
import { toOpenFlags, opensForWriting } from '../../../guest/9p/open-flags.js';

describe('splitPath', () => {
  const split = (path: string) => splitPath(path).map(toText);

  it('leaves out slashes and dots that say nothing', () => {
    expect(split('a/b')).toEqual(['a', 'b']);
    expect(split('//./a/./b//')).toEqual(['a', 'b']);
    expect(split('/')).toEqual([]);
    expect(split('.')).toEqual([]);
  });

  it('keeps names that only look like dots', () => {
    expect(split('.../.a/..b')).toEqual(['...', '.a', '..b']);
  });

  it('keeps going up, comparably', () => {
    expect(splitPath(new TextEncoder().encode('a/../b'))[1]).toBe(PARENT);
  });

  it('takes names that are no UTF-8 as bytes', () => {
    expect(splitPath(Uint8Array.of(0x61, 0x2f, 0xff))).toEqual([Uint8Array.of(0x61), Uint8Array.of(0xff)]);
  });

  it('refuses the empty path with ENOENT and a NUL with EINVAL', () => {
    expect(() => splitPath('')).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    expect(() => splitPath('a\0b')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});

describe('open modes', () => {
  it('are the Linux flags that fopen(3) names', () => {
    expect(toOpenFlags('r')).toBe(0);
    expect(toOpenFlags('r+')).toBe(2);
    expect(toOpenFlags('w')).toBe(0o1101);
    expect(toOpenFlags('wx+')).toBe(0o302);
    expect(toOpenFlags('a+')).toBe(0o2102);
    expect(toOpenFlags(0o400000)).toBe(0o400000);
  });

  it('that do not exist are EINVAL', () => {
    expect(() => toOpenFlags('rw' as 'r')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  it('write where they write, create or truncate', () => {
    expect((['r', 'r+', 'w', 'a'] as const).map((mode) => opensForWriting(toOpenFlags(mode)))).toEqual([
      false,
      true,
      true,
      true,
    ]);
    expect(opensForWriting(0o1000)).toBe(true);
  });
});
