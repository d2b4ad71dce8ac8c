import { describe, expect, it } from 'vitest';
import { PatternError, Patterns } from '../../../../../devices/9p/fs/policy/patterns.js';
import { named } from '../suite/driver.js';

function covers(pattern: string, path: string): boolean {
  return new Patterns([pattern]).covers(path);
}

describe('patterns', () => {
  it('match whole paths, dot files too, and all that is below what matches', () => {
    expect(covers('src/*.c', '/src/main.c')).toBe(true);
    expect(covers('src/*.c', '/src/deep/main.c')).toBe(false);
    expect(covers('src/*.c', '/other/src/main.c')).toBe(false);
    expect(covers('*', '/.env')).toBe(true);
    expect(covers('src', '/src/a/b')).toBe(true);
    expect(covers('src', '/source')).toBe(false);
    expect(covers('/src', '/src')).toBe(true);
  });

  it('know case, and take braces and classes', () => {
    expect(covers('Secret', '/secret')).toBe(false);
    expect(covers('*.{key,pem}', '/a.pem')).toBe(true);
    expect(covers('[ab]', '/a')).toBe(true);
    expect(covers('[ab]', '/c')).toBe(false);
  });

  it('with ** match any number of directories, or what is below one', () => {
    for (const path of ['/.env', '/a/.env', '/a/b/.env', '/a/.env/below'])
      expect(covers('**/.env', path)).toBe(true);
    expect(covers('a/**/z', '/a/z')).toBe(true);
    expect(covers('a/**/z', '/a/b/c/z')).toBe(true);
    expect(covers('a/**', '/a')).toBe(false);
    expect(covers('a/**', '/a/b')).toBe(true);
    expect(covers('**', '')).toBe(true);
  });

  it('are not led astray by line feeds, by bytes that are no UTF-8, or by names that look like patterns', () => {
    expect(covers('**/secret', '/a\n/b/secret')).toBe(true);
    expect(covers('*secret', '/\nsecret')).toBe(true);
    expect(covers('*/secret', '/\xff\xfe/secret')).toBe(true);
    expect(covers('**/s*', '/\xff/s\xff')).toBe(true);
    expect(covers(named('größe'), `/${named('größe')}`)).toBe(false);
    expect(covers('größe', `/${named('größe')}`)).toBe(true);
    expect(covers('gr??e', `/${named('größe')}`)).toBe(true);
  });

  // What this guards against takes minutes, and so runs into the test's time limit.
  it('take no time to speak of on paths and names that were made for them', () => {
    const path = '/a'.repeat(20_000);
    expect(covers('**/a/**/a/**/b', path)).toBe(false);
    expect(covers('*a*a*b', `/${'a'.repeat(255)}`)).toBe(false);
  });

  it('lead on through the directories above what they match', () => {
    const patterns = new Patterns(['src/lib/**', 'docs/*/index.md']);
    for (const path of ['', '/src', '/src/lib', '/docs', '/docs/any'])
      expect(patterns.leadsOn(path), path).toBe(true);
    for (const path of ['/srcs', '/docs/any/other', '/x']) expect(patterns.leadsOn(path), path).toBe(false);
  });

  it('that say what is wrong with them are refused', () => {
    for (const pattern of [
      '',
      '/',
      'a//b',
      'a/./b',
      '../x',
      'a**b',
      '****',
      '*a*b*c*',
      '{a/b,c}',
      '[a/b]',
      'a/',
    ])
      expect(() => new Patterns([pattern]), pattern).toThrow(PatternError);
    expect(() => new Patterns(Array.from({ length: 257 }, () => 'a'))).toThrow(PatternError);
    expect(() => new Patterns(['a/'.repeat(40) + 'a'])).toThrow(PatternError);
  });
});
