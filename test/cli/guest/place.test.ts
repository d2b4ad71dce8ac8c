import { describe, expect, it } from 'vitest';
import { meansContents, parsePlace } from '../../../cli/guest/copy/place.js';

describe('a place of a copy', () => {
  it.each([
    ['dev:/srv', { kind: 'guest', chassis: 'dev', path: '/srv' }],
    [':/srv/a:b', { kind: 'guest', chassis: '', path: '/srv/a:b' }],
    ['./dev:/srv', { kind: 'host', path: './dev:/srv' }],
    ['/a:b', { kind: 'host', path: '/a:b' }],
    ['dir', { kind: 'host', path: 'dir' }],
    ['Dev:/x', { kind: 'host', path: 'Dev:/x' }],
  ])('%j is understood', (text, place) => expect(parsePlace(text)).toEqual(place));

  it.each(['', 'dev:relative', ':', 'dev:/a\0b'])('%j is none', (text) => {
    expect(() => parsePlace(text)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }));
  });

  it('means what is in a directory where it ends with /.', () => {
    expect(['a/.', '.', 'a', 'a/', 'a.'].map(meansContents)).toEqual([true, true, false, false, false]);
  });
});
